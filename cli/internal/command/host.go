package command

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"github.com/culvert-tunnel/culvert/cli/internal/host"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

// announcement says what the host is told. addHost completes it.
func (c *commands) announcement(s *settings.Settings, logger *slog.Logger) *host.Announcement {
	return &host.Announcement{
		PIDFile: c.ExpandHome(s.Text("pidfile")), Grace: stack.Grace(s), Logger: logger,
		Manager: host.Manager{
			Socket: c.Env("NOTIFY_SOCKET"), WatchdogUSec: c.Env("WATCHDOG_USEC"), WatchdogPID: c.Env("WATCHDOG_PID"),
		},
	}
}

// addHost adds what tells the host about the connector st, whose metrics listener is at metrics, and what obeys its commands.
func (c *commands) addHost(st *stack.Stack, announcement *host.Announcement, control bool, metrics netip.AddrPort) {
	announcement.Ready, announcement.Alive = st.WorkerReady, func(ctx context.Context) error {
		return errors.Join(st.Alive(), process.Health(ctx, "http://"+metrics.String()+"/healthz"))
	}
	st.Add("announcement", announcement)
	if control && c.Host.Stdin != nil {
		st.Add("stdin-control", host.Control{Input: c.Host.Stdin, Connections: st, Logger: announcement.Logger})
	}
}

// configFile is the configuration file that a flag names, "" for none.
func (c *commands) configFile() (string, error) {
	s, err := c.flagsOnly()
	if err != nil {
		return "", err
	}
	return s.Text("config"), nil
}

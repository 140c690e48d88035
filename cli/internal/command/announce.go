package command

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	announcePoll = 100 * time.Millisecond
	pidFileMode  = 0o644
)

// announcement reports to the host when the first connection is registered: the pid file, and the service manager
// (docs/spec/lifecycle.md 10.4).
type announcement struct {
	stack   *stack.Stack
	pidfile string
	notify  string // systemd's socket, usually empty
	logger  *slog.Logger
}

// Run waits for the first connection, announces it, and waits for the end.
func (a announcement) Run(ctx context.Context) error {
	tick := time.NewTicker(announcePoll)
	defer tick.Stop()
	for a.stack.WorkerReady() != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	a.announce(ctx)
	<-ctx.Done()
	return nil
}

func (a announcement) announce(ctx context.Context) {
	a.logger.InfoContext(ctx, "first connection registered")
	if a.pidfile != "" {
		if err := os.WriteFile(a.pidfile, []byte(strconv.Itoa(os.Getpid())), pidFileMode); err != nil {
			a.logger.ErrorContext(ctx, "pid file not written", slog.Any(logkey.Err, err))
		}
	}
	if a.notify == "" {
		return
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", a.notify)
	if err != nil {
		a.logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
		return
	}
	_, err = conn.Write([]byte("READY=1"))
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		a.logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
	}
}

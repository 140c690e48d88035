package command

import (
	"log/slog"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/diagnose"
	"github.com/culvert-tunnel/culvert/cli/internal/runlog"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
)

// diagnose are the commands that find out why a tunnel does not work.
func (c *commands) diagnose() diagnose.Commands {
	return diagnose.Commands{
		Console: c.Console, Flags: func() []urfave.Flag { return c.connectorFlags(true) }, Exit: func(code int) { c.code = code },
		Logger: func(s *settings.Settings) (*slog.Logger, func()) {
			log := runlog.Open(s, c.Host.Stderr, c.Home())
			return log.Logger, log.Close
		},
		Settings: func() (*settings.Settings, error) {
			s, _, err := c.connectorSettings()
			return s, err
		},
		Edge: func(s *settings.Settings) (diagnose.Edge, error) {
			plan, err := stack.PlanEdge(s)
			return edgeOf(plan), err
		},
	}
}

// edgeOf is what plan says about the edge.
func edgeOf(plan stack.Config) diagnose.Edge {
	edge := plan.Worker.Edge
	return diagnose.Edge{
		Discovery: plan.Discovery, CACert: edge.CACert, BindAddress: edge.BindAddress, IPVersion: edge.IPVersion, Protocol: edge.Protocol,
		PostQuantum: plan.Worker.PostQuantum,
	}
}

package service

import (
	"context"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/install"
	"github.com/culvert-tunnel/culvert/cli/internal/setup"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/process/stored"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/proxy"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

// Commands are the parts as processes of their own: the same as the service binaries. A service reports its errors itself; its exit
// code goes to exited. The commands that prepare a host or a deployment of several processes come first; config gives the configuration
// file that a flag names.
func Commands(c console.Console, exited func(code int), config func() (string, error)) []*urfave.Command {
	table := []struct {
		name, usage string
		exec        func(ctx context.Context, host process.Host) int
	}{
		{"discovery", "resolve the edge's addresses for others", execDiscovery},
		{"supervisor", "decide which worker holds which connection", execSupervisor},
		{"conn-worker", "hold connections to the edge", execWorker},
		{"proxy", "carry requests to origins", execProxy},
		{"edge", "the far end: accept connectors and face the public", execEdge},
	}
	out := append(install.Commands(c, config), setup.LinkCerts(c), setup.StoreUsers(c))
	for _, row := range table {
		out = append(out, &urfave.Command{
			Name: row.name, Usage: "service: " + row.usage, SkipFlagParsing: true, HideHelp: true,
			Action: func(ctx *urfave.Context) error {
				own := c.Host
				own.Args = ctx.Args().Slice()
				exited(row.exec(ctx.Context, own))
				return nil
			},
		})
	}
	return out
}

func execDiscovery(ctx context.Context, host process.Host) int {
	cfg, build := stored.With(discovery.Default(), discovery.Build)
	return process.Exec(ctx, host, "discovery", cfg, build, process.OpsListen(process.OpsDiscovery))
}

func execSupervisor(ctx context.Context, host process.Host) int {
	cfg, build := stored.With(supervisor.Default(), supervisor.Build)
	return process.Exec(ctx, host, "supervisor", cfg, build, process.OpsListen(process.OpsSupervisor))
}

func execWorker(ctx context.Context, host process.Host) int {
	cfg, build := stored.With(connworker.Default(), connworker.Build)
	return process.Exec(ctx, host, "conn-worker", cfg, build, process.OpsListen(process.OpsConnWorker), process.HalfCores())
}

func execProxy(ctx context.Context, host process.Host) int {
	cfg, build := stored.With(proxy.Default(), proxy.Build)
	return process.Exec(ctx, host, "proxy", cfg, build, process.OpsListen(process.OpsProxy), process.HalfCores())
}

func execEdge(ctx context.Context, host process.Host) int {
	return process.Exec(ctx, host, "edge", edge.Default(), edge.Build, process.OpsListen(process.OpsEdge))
}

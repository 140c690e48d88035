// Command edge runs one edge.
package main

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/services/edge"
)

func main() {
	process.Main("edge", edge.Default(), func(_ context.Context, env process.Env, cfg edge.Config) (process.Runner, error) {
		return edge.New(cfg, edge.Deps{Logger: env.Logger, Registerer: env.Registerer})
	}, process.OpsListen("127.0.0.1:8105"))
}

package edge

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/process"
)

// Build makes the edge of a process of its own.
func Build(_ context.Context, env process.Env, cfg Config) (process.Runner, error) {
	return New(cfg, Deps{Logger: env.Logger, Registerer: env.Registerer, Files: env.Files})
}

package discovery

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// Build makes the replica of a process of its own.
func Build(_ context.Context, env process.Env, store *redisstore.Store, cfg Config) (process.Runner, error) {
	return New(cfg, Deps{Store: store, Logger: env.Logger, Registerer: env.Registerer, Files: env.Files, Network: process.WatchNetwork})
}

package main

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// build makes the service of this program.
func build(_ context.Context, env process.Env, store *redisstore.Store, cfg proxy.Config) (process.Runner, error) {
	return proxy.New(cfg, proxy.Deps{
		Store: store, Logger: env.Logger, Registerer: env.Registerer, Version: env.Version,
	})
}

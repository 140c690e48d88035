package connworker

import (
	"context"
	"os"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Build makes the worker of a process of its own. Where the configuration names no credentials, the variables that the
// reference reads do (docs/spec/wire.md 13).
func Build(_ context.Context, env process.Env, store *redisstore.Store, cfg Config) (process.Runner, error) {
	c := &cfg.Credentials
	if len(c.Token) == 0 && c.TokenFile == "" && c.File == "" && len(c.Files) == 0 {
		c.Token = tunnel.Secret(os.Getenv("TUNNEL_TOKEN"))
		if len(c.Token) == 0 {
			c.TokenFile = os.Getenv("TUNNEL_TOKEN_FILE")
		}
		if len(c.Token) == 0 && c.TokenFile == "" {
			c.File = os.Getenv("TUNNEL_CRED_FILE")
		}
	}
	return New(cfg, Deps{
		Store: store, Logger: env.Logger, Registerer: env.Registerer, Version: env.Version, Files: env.Files,
		Network: process.WatchNetwork,
	})
}

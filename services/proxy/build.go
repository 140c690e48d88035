package proxy

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// Build makes the proxy of a process of its own.
func Build(_ context.Context, env process.Env, store *redisstore.Store, cfg Config) (process.Runner, error) {
	key, err := process.ReadRuleKey(cfg.ConfigKeyFile, env.Files)
	if err != nil {
		return nil, err
	}
	return New(cfg, Deps{
		Store: store, Logger: env.Logger, Registerer: env.Registerer, Version: env.Version, Files: env.Files,
		Versions: store, RuleKey: key, Private: env.Private, Shares: store,
	})
}

// Package stored runs a service that meets the others in the store, as a program of its own: package process together with the
// store and its settings. It is apart from process so that what has no store does not depend on one. A service's main is
//
//	func main() { stored.Main("discovery", discovery.Default(), build, process.OpsListen(process.OpsDiscovery)) }
//
//	func build(_ context.Context, env process.Env, store *redisstore.Store, cfg discovery.Config) (process.Runner, error) {
//		return discovery.New(cfg, discovery.Deps{Store: store, Logger: env.Logger, Registerer: env.Registerer})
//	}
//
// The service's own Config does not have the section "redis".
package stored

import (
	"context"
	"errors"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// Builder is a process.Builder for a service that meets the others in the store. The store is closed after the part.
type Builder[C any] func(ctx context.Context, env process.Env, store *redisstore.Store, cfg C) (process.Runner, error)

// Config is the configuration of such a service: its own, and the store's section.
type Config[C any] struct {
	Service C                 `yaml:",inline"`
	Redis   redisstore.Config `yaml:"redis"`
}

// Validate checks both sections.
func (s *Config[C]) Validate() error {
	var problems []error
	if v, ok := any(&s.Service).(interface{ Validate() error }); ok {
		problems = append(problems, v.Validate())
	}
	if s.Redis.URL == "" {
		problems = append(problems, errors.New("redis: url: empty"))
	}
	return errors.Join(problems...)
}

// Main is process.Main for a service that needs the store.
func Main[C any](name string, defaults C, build Builder[C], opts ...process.Option) {
	cfg, b := With(defaults, build)
	process.Main(name, cfg, b, opts...)
}

// With adds the store's settings to the defaults and the builder of a service, for process.Main and process.Exec.
// An unreachable store is no error: the service starts, is not ready, and goes on as soon as the store is there.
func With[C any](defaults C, build Builder[C]) (Config[C], process.Builder[Config[C]]) {
	return Config[C]{Service: defaults, Redis: redisstore.Default()},
		func(ctx context.Context, env process.Env, cfg Config[C]) (process.Runner, error) {
			store, err := redisstore.OpenWatched(ctx, cfg.Redis, env.Files)
			if err != nil {
				return nil, fmt.Errorf("store: %w", err)
			}
			env.Defer(store.Close)
			if env.Beside != nil {
				env.Beside("log relay", process.LogRelay(store, env.Logger))
				env.Beside("store advisor", redisstore.Advisor{Store: store, Logger: env.Logger})
			}
			return build(ctx, env, store, cfg.Service)
		}
}

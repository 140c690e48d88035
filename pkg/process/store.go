package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/culvert-tunnel/culvert/pkg/logtail"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// StoreBuilder is a Builder for a service that meets the others in the store. The store is closed after the part.
type StoreBuilder[C any] func(ctx context.Context, env Env, store *redisstore.Store, cfg C) (Runner, error)

// Stored is the configuration of such a service: its own, and the store's section.
type Stored[C any] struct {
	Service C                 `yaml:",inline"`
	Redis   redisstore.Config `yaml:"redis"`
}

// Validate checks both sections.
func (s *Stored[C]) Validate() error {
	var problems []error
	if v, ok := any(&s.Service).(interface{ Validate() error }); ok {
		problems = append(problems, v.Validate())
	}
	if s.Redis.URL == "" {
		problems = append(problems, errors.New("redis: url: empty"))
	}
	return errors.Join(problems...)
}

// MainWithStore is Main for a service that needs the store.
func MainWithStore[C any](name string, defaults C, build StoreBuilder[C], opts ...Option) {
	cfg, b := WithStore(defaults, build)
	Main(name, cfg, b, opts...)
}

// LogRelay is the part of a process that sends its log lines to the log streams that a proxy in another process serves.
func LogRelay(store *redisstore.Store, logger *slog.Logger) Runner {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return logtail.NewRelay(store, logger, filepath.Base(os.Args[0])+"@"+name)
}

// WithStore adds the store's settings to the defaults and the builder of a service, for Main and Exec.
// An unreachable store is no error: the service starts, is not ready, and goes on as soon as the store is there.
func WithStore[C any](defaults C, build StoreBuilder[C]) (Stored[C], Builder[Stored[C]]) {
	return Stored[C]{Service: defaults, Redis: redisstore.Default()},
		func(ctx context.Context, env Env, cfg Stored[C]) (Runner, error) {
			store, err := redisstore.OpenWatched(ctx, cfg.Redis, env.Files)
			if err != nil {
				return nil, fmt.Errorf("store: %w", err)
			}
			env.Defer(store.Close)
			if env.Beside != nil {
				env.Beside("log relay", LogRelay(store, env.Logger))
			}
			return build(ctx, env, store, cfg.Service)
		}
}

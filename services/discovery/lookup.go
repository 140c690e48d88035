package discovery

import (
	"context"
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

// Lookup looks the edge up once, as a replica would, and publishes nothing. The pool has no version.
func Lookup(ctx context.Context, cfg Config, logger *slog.Logger) (edgepool.Pool, error) {
	cfg.StateDir = ""
	s, err := New(cfg, Deps{Logger: logger})
	if err != nil {
		return edgepool.Pool{}, err
	}
	return s.lookup(ctx)
}

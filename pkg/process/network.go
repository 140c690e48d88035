package process

import (
	"context"
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/netwatch"
)

// WatchNetwork calls changed after each change of the network of this host, and after the host slept, until ctx ends.
func WatchNetwork(ctx context.Context, logger *slog.Logger, changed func()) {
	netwatch.Run(ctx, logger, changed)
}

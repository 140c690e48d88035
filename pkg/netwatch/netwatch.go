package netwatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/look"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// clockEvery is how often the clocks are compared.
const clockEvery = 5 * time.Second

// Run calls changed, one call at a time, after the network changed or the host slept, until ctx ends.
func Run(ctx context.Context, logger *slog.Logger, changed func()) {
	changes := make(chan struct{}, 1)
	var source sync.WaitGroup
	defer source.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source.Go(func() {
		err := listen(ctx, func() {
			select {
			case changes <- struct{}{}:
			default: // one that is not yet handled is enough
			}
		})
		if err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, "changes of the network are not watched", slog.Any(logkey.Err, err))
		}
	})
	decider := look.New(rand.Int64N)
	clock := time.NewTicker(clockEvery)
	defer clock.Stop()
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			due.Reset(decider.Changed(time.Now()))
		case <-clock.C:
			if now := time.Now(); decider.Clock(now) {
				due.Reset(decider.Changed(now))
			}
		case <-due.C:
			if decider.Due(time.Now()) {
				logger.InfoContext(ctx, "network changed, looking early")
				changed()
			}
		}
	}
}

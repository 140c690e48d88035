package keeper

import (
	"context"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
)

// asking asks discovery for a lookup when the tunnels of the worker have no address left to try. One request is for all of them.
type asking struct {
	// due is written to when a request is to be sent.
	due chan struct{}

	// mu guards what follows.
	mu    sync.Mutex
	asker keep.Asker
	// exhausted are the keepers that have no address left.
	exhausted map[*keeper]bool
}

func newAsking() *asking {
	return &asking{due: make(chan struct{}, 1), exhausted: map[*keeper]bool{}}
}

// observe takes what a dial of the keeper led to. It never waits.
func (a *asking) observe(k *keeper, exhausted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if exhausted {
		a.exhausted[k] = true
	} else {
		delete(a.exhausted, k)
	}
	if !a.asker.Ask(time.Now(), len(a.exhausted) > 0) {
		return
	}
	select {
	case a.due <- struct{}{}:
	default: // one that is not yet sent is enough
	}
}

// run sends the requests until ctx ends.
func (a *asking) run(ctx context.Context, pool string, control Control) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.due:
			control.Hint(ctx, keep.LookTopic(pool))
		}
	}
}

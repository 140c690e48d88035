package front

import (
	"context"
	"sync"
	"time"
)

// upgrades knows the upgraded streams: they are counted against their limit, and ended at shutdown.
type upgrades struct {
	max     int
	metrics *metrics

	// mu protects the fields below.
	mu   sync.Mutex
	open map[*pipe]struct{}
	// empty is closed when none is left, once draining.
	empty    chan struct{}
	draining bool
}

func newUpgrades(limit int, m *metrics) *upgrades {
	return &upgrades{max: limit, metrics: m, open: make(map[*pipe]struct{}), empty: make(chan struct{})}
}

// add reports whether there is room for one more.
func (u *upgrades) add(p *pipe) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.open) >= u.max || u.draining {
		return false
	}
	u.open[p] = struct{}{}
	u.metrics.webSockets.Inc()
	return true
}

func (u *upgrades) remove(p *pipe) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, p)
	u.metrics.webSockets.Dec()
	u.tellEmpty()
}

// tellEmpty needs the lock.
func (u *upgrades) tellEmpty() {
	if u.draining && len(u.open) == 0 {
		select {
		case <-u.empty:
		default:
			close(u.empty)
		}
	}
}

// drain waits for the end of ctx, gives the streams some time, cuts the rest and waits for it.
func (u *upgrades) drain(ctx context.Context, timeout time.Duration) error {
	<-ctx.Done()
	u.mu.Lock()
	u.draining = true
	u.tellEmpty()
	u.mu.Unlock()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	select {
	case <-u.empty:
		return nil
	case <-limit.C:
	}
	u.mu.Lock()
	for p := range u.open {
		cancelStream(p.st) // its loop sees it
	}
	u.mu.Unlock()
	<-u.empty
	return nil
}

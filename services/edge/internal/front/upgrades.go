package front

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// upgrades tracks the upgraded streams: it counts them against their limits and ends them at shutdown.
type upgrades struct {
	metrics *metrics
	places  *quota.Counter[netip.Prefix] // by the visitor's address

	// mu guards the fields below.
	mu   sync.Mutex
	open map[*pipe]struct{}
	// empty is closed when none is open any more, once draining.
	empty    chan struct{}
	draining bool
}

func newUpgrades(limits share.Limits, reg prometheus.Registerer, m *metrics) *upgrades {
	return &upgrades{
		metrics: m, places: quota.NewCounter[netip.Prefix](reg, "websockets", limits), open: make(map[*pipe]struct{}),
		empty: make(chan struct{}),
	}
}

// add counts a stream. It reports false when a limit leaves no room: that of all streams, or the share of the visitor's
// address.
func (u *upgrades) add(p *pipe) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.draining || u.places.Take(share.Network(p.addr), 1) != share.Granted {
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
	u.places.Give(share.Network(p.addr), 1)
	u.metrics.webSockets.Dec()
	u.noteEmptyLocked()
}

// noteEmptyLocked closes empty when the last stream has ended during a drain; u.mu is held.
func (u *upgrades) noteEmptyLocked() {
	if u.draining && len(u.open) == 0 {
		select {
		case <-u.empty:
		default:
			close(u.empty)
		}
	}
}

// drain waits for the end of ctx, gives the streams timeout to end, aborts the rest and waits for it.
func (u *upgrades) drain(ctx context.Context, timeout time.Duration) error {
	<-ctx.Done()
	u.mu.Lock()
	u.draining = true
	u.noteEmptyLocked()
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
		dispatch.Abort(p.st) // its loop ends with an error
	}
	u.mu.Unlock()
	<-u.empty
	return nil
}

package keeper

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// poolTime is how long a pool that was read serves all tunnels of a worker.
const poolTime = 5 * lease.RenewEvery

// pools reads edge pools, once for all tunnels of a worker.
type pools struct {
	store Store
	// last is the pool that was read last.
	last atomic.Pointer[edgepool.Pool]

	mu   sync.Mutex
	read map[string]readPool // guarded by mu, which is held while one is read
}

type readPool struct {
	pool edgepool.Pool
	at   time.Time
}

func newPools(s Store) *pools { return &pools{store: s, read: map[string]readPool{}} }

// Pool is the pool as it was read a moment ago, or is now.
func (p *pools) Pool(ctx context.Context, name string) (edgepool.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, found := p.read[name]; found && time.Since(last.at) < poolTime {
		return last.pool, nil
	}
	pool, err := p.store.Pool(ctx, name)
	if err != nil {
		delete(p.read, name)
		return pool, err
	}
	p.read[name] = readPool{pool, time.Now()}
	p.last.Store(&pool)
	return pool, nil
}

package control

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

// familiesTime is how long a look at the host's routes counts.
const familiesTime = 30 * time.Second

// families looks in which versions of IP the host has a route to the edge.
type families struct {
	route func(ctx context.Context, to netip.AddrPort) bool

	// mu guards what follows: the last look, and when it was.
	mu    sync.Mutex
	found string
	at    time.Time
}

// of is the versions for a pool, empty while it has no address.
func (f *families) of(pool edgepool.Pool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.at.IsZero() && time.Since(f.at) < familiesTime || pool.Version == 0 {
		return f.found
	}
	f.found, f.at = "", time.Now()
	for _, family := range []edgepool.Family{edgepool.V4, edgepool.V6} {
		if a := pool.Addresses(family); len(a) > 0 && f.route(context.Background(), a[0].Addr) {
			f.found += family.String()
		}
	}
	return f.found
}

package registry

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry/doubt"
)

// trust says whether a connection is in doubt (package doubt).
type trust struct {
	// prober is nil for a transport that cannot be probed: such a connection is never in doubt.
	prober transport.Prober
	// doubted is what every choice of a connection reads.
	doubted atomic.Bool
	// machine belongs to the watch.
	machine doubt.Machine

	// mu guards the fields below. until ends when the connection comes into doubt; nil while nobody has asked for it.
	mu    sync.Mutex
	until context.Context //nolint:containedctx // a period of trust, handed out by Trusted
	lose  context.CancelFunc
}

// InDoubt reports whether the connection has shown no sign of life for so long that other connections are better.
func (c *Conn) InDoubt() bool { return c.trust.doubted.Load() }

// Trusted returns a context that ends when the connection comes into doubt. It has ended already while the connection is.
func (c *Conn) Trusted() context.Context {
	t := &c.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == nil {
		t.until, t.lose = context.WithCancel(context.Background()) // Doubt ends it, or nothing needs it any more
		if t.doubted.Load() {
			t.lose()
		}
	}
	return t.until
}

// Doubt puts the connection into doubt: requests that wait for Trusted learn of it.
func (c *Conn) Doubt() {
	t := &c.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubted.Store(true)
	if t.lose != nil {
		t.lose()
	}
}

// Trust ends the doubt.
func (c *Conn) Trust() {
	t := &c.trust
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doubted.Swap(false) {
		t.until, t.lose = nil, nil
	}
}

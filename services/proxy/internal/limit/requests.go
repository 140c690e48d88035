package limit

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Errors of Requests.Acquire.
var (
	// ErrFull says that the proxy has as many requests and streams as it accepts.
	ErrFull = errors.New("too many requests at a time")
	// ErrTunnelFull says that a tunnel has as many as it may have while others want places, too.
	ErrTunnelFull = errors.New("too many requests of this tunnel at a time")
)

// Use is how many requests and streams run, with a new one about which Admit decides.
type Use struct {
	// Total is the number of all, and Max its limit; 0 is no limit.
	Total, Max int64
	// Own is the number of the tunnel, and PerTunnel its limit; 0 is no limit.
	Own, PerTunnel int64
	// Tunnels is the number of tunnels with a running one.
	Tunnels int64
}

// Admit returns nil when the new one may run, else ErrFull or ErrTunnelFull. The last quarter of the places is shared fairly: there, a
// tunnel gets no further place while it has its equal share or more. So a tunnel whose origin is slow may use three quarters of the
// places while nobody else wants them, and never keeps another tunnel from its share of the rest.
func Admit(u Use) error {
	switch {
	case u.Max != 0 && u.Total > u.Max:
		return ErrFull
	case u.PerTunnel != 0 && u.Own > u.PerTunnel:
		return ErrTunnelFull
	case u.Max > 0 && u.Tunnels > 1 && u.Total > u.Max-u.Max/4 && u.Own > max(u.Max/u.Tunnels, 1):
		return ErrTunnelFull
	}
	return nil
}

// Requests counts the running requests and streams of a proxy and of each of its tunnels.
type Requests struct {
	max, perTunnel int64
	total, tunnels atomic.Int64

	// mu serializes additions to counts, which are copied on each: a request takes no lock. A tunnel stays there, so that its counter can
	// be used without one.
	mu     sync.Mutex
	counts atomic.Pointer[map[tunnel.ID]*atomic.Int64]
}

// NewRequests makes a counter with the limits of Use.
func NewRequests(most, perTunnel int) *Requests {
	r := &Requests{max: int64(most), perTunnel: int64(perTunnel)}
	r.counts.Store(&map[tunnel.ID]*atomic.Int64{})
	return r
}

// Place is the place of one request or stream.
type Place struct {
	requests *Requests
	own      *atomic.Int64
}

// Acquire takes a place for a request or stream of a tunnel. Without an error the caller releases it at the end.
func (r *Requests) Acquire(id tunnel.ID) (Place, error) {
	p := Place{r, r.count(id)}
	u := Use{Max: r.max, PerTunnel: r.perTunnel, Total: r.total.Add(1), Own: p.own.Add(1)}
	if u.Own == 1 {
		r.tunnels.Add(1)
	}
	u.Tunnels = r.tunnels.Load()
	if err := Admit(u); err != nil {
		p.Release()
		return Place{}, err
	}
	return p, nil
}

// Release gives the place back. It must be called once.
func (p Place) Release() {
	if p.own.Add(-1) == 0 {
		p.requests.tunnels.Add(-1)
	}
	p.requests.total.Add(-1)
}

func (r *Requests) count(id tunnel.ID) *atomic.Int64 {
	if c := (*r.counts.Load())[id]; c != nil {
		return c
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := (*r.counts.Load())[id]; c != nil { // another request was quicker
		return c
	}
	next := maps.Clone(*r.counts.Load())
	next[id] = &atomic.Int64{}
	r.counts.Store(&next)
	return next[id]
}

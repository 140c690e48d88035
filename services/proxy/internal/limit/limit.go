package limit

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrTooMany says that the limit is reached.
var ErrTooMany = errors.New("too many active flows")

// Type is the kind of a flow.
type Type int

// The kinds of flows.
const (
	TCP Type = iota
	UDP
	types
)

// Flows counts the running flows of each tunnel.
type Flows struct {
	max     func(tunnel.ID) uint64
	active  atomic.Int64
	refused [types]prometheus.Counter

	// mu guards the rest.
	mu      sync.Mutex
	tunnels map[tunnel.ID]*use // those with a running flow, or with a share
	shared  bool
	wake    chan struct{} // receives when a share is too small, or is needed for the first time
}

// use is what one tunnel has.
type use struct {
	running uint64
	// demand is the most that ran at a time since the last Demands, with the flows that were refused.
	demand uint64
	// share is the part of the limit that this proxy has; heard says that it has one, and short that a flow was refused because of it.
	share        uint64
	heard, short bool
}

// New makes a counter that asks maxFlows for the limit of a tunnel each time, so that a change counts from the next flow on; 0 is no
// limit. Each tunnel has a limit of its own. Flows above a lowered limit go on.
func New(maxFlows func(tunnel.ID) uint64, reg prometheus.Registerer) *Flows {
	f := promauto.With(reg)
	l := &Flows{max: maxFlows, tunnels: make(map[tunnel.ID]*use), wake: make(chan struct{}, 1)}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "culvert_proxy_private_flows_active", Help: "Private-network flows that hold a place under the limit.",
	}, func() float64 { return float64(l.active.Load()) })
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_private_flows_limited_total", Help: "Private-network flows refused because of the limit.",
	}, []string{"flow_type"})
	for t, name := range []string{TCP: "tcp", UDP: "udp"} {
		l.refused[t] = refused.WithLabelValues(name)
	}
	return l
}

// Share makes the limits those of several proxies together: this one has what SetShare gives it, and before that a small part. It comes
// before the first flow.
func (l *Flows) Share() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = true
}

// Slot is a flow's place under the limit of its tunnel.
type Slot struct {
	flows    *Flows
	tunnel   tunnel.ID
	released atomic.Bool
}

// Acquire takes a place for a flow of a tunnel, or gives ErrTooMany. The caller releases it when the flow ends, whatever became of it.
func (l *Flows) Acquire(id tunnel.ID, t Type) (*Slot, error) {
	limit := l.max(id)
	if !l.enter(id, limit) {
		l.refused[t].Inc()
		return nil, ErrTooMany
	}
	l.active.Add(1)
	return &Slot{flows: l, tunnel: id}, nil
}

// enter counts a flow, if there is a place for it.
func (l *Flows) enter(id tunnel.ID, limit uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.tunnels[id]
	if u == nil {
		u = &use{}
		l.tunnels[id] = u
		l.wakeUp(limit)
	}
	u.demand = max(u.demand, u.running) + 1
	if limit != 0 && u.running >= l.places(u, limit) {
		u.short = u.running < limit
		if u.running == 0 && !l.shared {
			delete(l.tunnels, id)
		}
		l.wakeUp(limit)
		return false
	}
	u.running++
	u.demand = max(u.demand-1, u.running)
	return true
}

// places is how many flows of a tunnel with a limit may run here.
func (l *Flows) places(u *use, limit uint64) uint64 {
	switch {
	case !l.shared:
		return limit
	case !u.heard:
		return quota.Initial(limit)
	}
	return min(u.share, limit)
}

func (l *Flows) wakeUp(limit uint64) {
	if limit == 0 || !l.shared {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Wake receives when a share is too small, or is needed for the first time.
func (l *Flows) Wake() <-chan struct{} { return l.wake }

// Demand is what a tunnel with a limit uses and needs.
type Demand struct {
	Tunnel tunnel.ID
	// Limit is that of all proxies together, Held what this one may have or has, Used what it has, and Most what it could have used at a
	// time since the last call.
	Limit, Held, Used, Most uint64
	// Short says that a flow was refused that the limit of all would have allowed.
	Short bool
}

// Demands lists the tunnels with limits and shares.
func (l *Flows) Demands() []Demand {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Demand
	for id, u := range l.tunnels {
		limit := l.max(id)
		if limit == 0 {
			if u.running == 0 {
				delete(l.tunnels, id)
			}
			continue
		}
		out = append(out, Demand{
			Tunnel: id, Limit: limit, Held: max(l.places(u, limit), u.running), Used: u.running, Most: min(max(u.demand, u.running), limit),
			Short: u.short,
		})
		u.demand, u.short = u.running, false
	}
	return out
}

// SetShare gives this proxy a share of the limit of a tunnel. Flows above a smaller share go on.
func (l *Flows) SetShare(id tunnel.ID, share uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.tunnels[id]; u != nil {
		u.share, u.heard = share, true
	}
}

// Forget gives up the share of a tunnel without flows, and reports whether it has none.
func (l *Flows) Forget(id tunnel.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.tunnels[id]
	if u != nil && u.running > 0 {
		return false
	}
	delete(l.tunnels, id)
	return true
}

// Release gives the place back. Only the first call counts; a nil slot has nothing to give.
func (s *Slot) Release() {
	if s == nil || s.released.Swap(true) {
		return
	}
	l := s.flows
	l.active.Add(-1)
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.tunnels[s.tunnel]
	if u.running--; u.running == 0 && !l.shared {
		delete(l.tunnels, s.tunnel)
	}
}

// Active is the number of flows of all tunnels that hold a place.
func (l *Flows) Active() int { return int(l.active.Load()) }

package limit

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

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

	// mu guards running, which has the number of flows of each tunnel that has some.
	mu      sync.Mutex
	running map[tunnel.ID]uint64
}

// New makes a counter that asks maxFlows for the limit of a tunnel each time, so that a change counts from the next flow on; 0 is no
// limit. Each tunnel has a limit of its own. Flows above a lowered limit go on.
func New(maxFlows func(tunnel.ID) uint64, reg prometheus.Registerer) *Flows {
	f := promauto.With(reg)
	l := &Flows{max: maxFlows, running: make(map[tunnel.ID]uint64)}
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

// Slot is a flow's place under the limit of its tunnel.
type Slot struct {
	flows    *Flows
	tunnel   tunnel.ID
	released atomic.Bool
}

// Acquire takes a place for a flow of a tunnel, or gives ErrTooMany. The caller releases it when the flow ends, whatever became of it.
func (l *Flows) Acquire(id tunnel.ID, t Type) (*Slot, error) {
	limit := l.max(id)
	l.mu.Lock()
	full := limit != 0 && l.running[id] >= limit
	if !full {
		l.running[id]++
	}
	l.mu.Unlock()
	if full {
		l.refused[t].Inc()
		return nil, ErrTooMany
	}
	l.active.Add(1)
	return &Slot{flows: l, tunnel: id}, nil
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
	if l.running[s.tunnel]--; l.running[s.tunnel] == 0 {
		delete(l.running, s.tunnel)
	}
}

// Active is the number of flows of all tunnels that hold a place.
func (l *Flows) Active() int { return int(l.active.Load()) }

package limit

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
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

// Flows counts running flows.
type Flows struct {
	max     func() uint64
	active  atomic.Int64
	refused [types]prometheus.Counter
}

// New makes a counter that asks max for the limit each time, so that a change counts from the next flow on; 0 is no limit.
// Flows above a lowered limit go on.
func New(maxFlows func() uint64, reg prometheus.Registerer) *Flows {
	f := promauto.With(reg)
	l := &Flows{max: maxFlows}
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

// Slot is a flow's place under the limit.
type Slot struct {
	flows    *Flows
	released atomic.Bool
}

// Acquire takes a place, or gives ErrTooMany. The caller releases it when the flow ends, whatever became of it.
func (l *Flows) Acquire(t Type) (*Slot, error) {
	limit := l.max()
	if n := l.active.Add(1); limit != 0 && uint64(n) > limit { // never negative
		l.active.Add(-1)
		l.refused[t].Inc()
		return nil, ErrTooMany
	}
	return &Slot{flows: l}, nil
}

// Release gives the place back. Only the first call counts; a nil slot has nothing to give.
func (s *Slot) Release() {
	if s != nil && !s.released.Swap(true) {
		s.flows.active.Add(-1)
	}
}

// Active is the number of flows that hold a place.
func (l *Flows) Active() int { return int(l.active.Load()) }

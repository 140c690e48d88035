package balance

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// Lookup gives the addresses of a host.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// Hub holds the members of all groups.
type Hub struct {
	log    *slog.Logger
	lookup Lookup

	changes                   map[string]prometheus.Counter
	repeats, refused, panicky prometheus.Counter

	mu      sync.Mutex
	members map[string]*member
}

// NewHub makes a hub without members. A nil lookup asks the system's resolver; reg may be nil.
func NewHub(log *slog.Logger, lookup Lookup, reg prometheus.Registerer) *Hub {
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	f := promauto.With(reg)
	h := &Hub{log: log, lookup: lookup, members: map[string]*member{}, changes: map[string]prometheus.Counter{}}
	changes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_balance_changes_total", Help: "Changes of the state of an origin of a rule with several.",
	}, []string{"to"})
	for _, s := range []string{stateUp, stateDown, stateEjected} {
		h.changes[s] = changes.WithLabelValues(s)
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "culvert_proxy_balance_origins", Help: "Origins of rules with several, by state.",
			ConstLabels: prometheus.Labels{"state": s},
		}, func() float64 { return h.count(s) })
	}
	repeats := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_balance_repeats_total", Help: "Failed attempts that were repeated at another origin, or not for lack of budget.",
	}, []string{"result"})
	h.repeats, h.refused = repeats.WithLabelValues("repeated"), repeats.WithLabelValues("no_budget")
	h.panicky = f.NewCounter(prometheus.CounterOpts{
		Name: "culvert_proxy_balance_panics_total", Help: "Attempts for which an origin was chosen without regard to its state.",
	})
	return h
}

func (h *Hub) count(state string) (n float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if m.state() == state {
			n++
		}
	}
	return n
}

// Open makes the origin of a service, which dials addr if that is valid.
type Open func(svc ingress.Service, addr netip.Addr) (*origin.Origin, error)

// acquire gives the member of a key, or makes it. The caller releases it.
func (h *Hub) acquire(key string, open func() (*member, error)) (*member, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.members[key]
	if !ok {
		var err error
		if m, err = open(); err != nil {
			return nil, err
		}
		h.members[key] = m
	}
	m.refs++
	return m, nil
}

// release gives a member back; the last one closes it.
func (h *Hub) release(key string) {
	h.mu.Lock()
	m := h.members[key]
	m.refs--
	last := m.refs == 0
	if last {
		delete(h.members, key)
	}
	h.mu.Unlock()
	if last {
		m.close()
	}
}

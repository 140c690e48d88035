package ports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// retryInterval is how often a port that could not be bound is tried again.
const retryInterval = 3 * time.Second

// store is the durable list of ports.
type store interface {
	Ports() []catalog.Port
	CheckPort(p route.Port, id tunnel.ID) (known bool, err error)
	AddPort(p route.Port, id tunnel.ID, now time.Time) (catalog.Port, error)
	DeletePort(p route.Port) error
}

// Listener is a bound port.
type Listener interface {
	Addr() netip.AddrPort
	// Serve accepts visitors until accept ends, and carries the accepted ones until they end or carry does.
	Serve(accept, carry context.Context)
	// Close frees the port at once. Serve may still carry visitors. Idempotent.
	Close() error
}

// Deps are what the ports work with.
type Deps struct {
	Store store
	Conns dispatch.Picker
	// Backlog aborts connections that fill a connection's window while their visitors read nothing; nil aborts none.
	Backlog *backlog.Watch
	// Associate opens an association for one visitor's datagrams to dst. deliver gets the replies and must not wait. The
	// association may end by itself after the idle time. Nil refuses UDP ports.
	Associate  func(ctx context.Context, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (Association, error)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Set holds the public ports of one edge.
type Set struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	shared  *shared
	calls   chan call
	// draining is closed once no port is opened any more.
	draining chan struct{}

	// mu guards entries; only the goroutine of Run (before it, the caller of New) changes them.
	mu      sync.Mutex
	entries map[string]*entry
}

// entry is one port of the catalog.
type entry struct {
	port     catalog.Port
	listener Listener // nil while it cannot be bound
	err      error    // why not
	stop     context.CancelFunc
}

// New binds the ports of the catalog. A port that cannot be bound does not prevent the others from being served.
func New(cfg Config, deps Deps) *Set {
	s := &Set{
		cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer), calls: make(chan call), draining: make(chan struct{}),
		entries: make(map[string]*entry),
	}
	s.shared = newShared(cfg, deps, s.metrics)
	for _, p := range deps.Store.Ports() {
		e := &entry{port: p}
		s.entries[p.Name()] = e
		s.bindEntry(context.Background(), e) // binding does not wait
	}
	s.count()
	return s
}

// Close frees the ports of a set that never ran.
func (s *Set) Close() error {
	var errs []error
	for _, e := range s.entries {
		if e.listener != nil {
			errs = append(errs, e.listener.Close())
		}
	}
	return errors.Join(errs...)
}

// List returns the state of all ports, sorted by network, number and address.
func (s *Set) List() []catalog.PortState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]catalog.PortState, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e.state())
	}
	slices.SortFunc(out, func(a, b catalog.PortState) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Number, b.Number), a.Addr.Compare(b.Addr))
	})
	return out
}

func (e *entry) state() catalog.PortState {
	st := catalog.PortState{Port: e.port}
	if e.listener != nil {
		st.Bound = e.listener.Addr()
	} else if e.err != nil {
		st.Fault = e.err.Error()
	}
	return st
}

// bindEntry opens a port of the catalog. It logs the result, unless the error is the same as before.
func (s *Set) bindEntry(ctx context.Context, e *entry) {
	l, err := s.bind(ctx, e.port)
	s.mu.Lock()
	changed := err != nil && (e.err == nil || e.err.Error() != err.Error())
	e.listener, e.err = l, err
	s.mu.Unlock()
	switch {
	case err == nil:
		s.deps.Logger.InfoContext(ctx, "public port open", attrs(e)...)
	case changed:
		s.deps.Logger.ErrorContext(ctx, "public port could not be opened; retrying", append(attrs(e), slog.Any(logkey.Err, err))...)
	}
}

func attrs(e *entry) []any {
	out := []any{slog.String(logkey.Port, e.port.Name()), slog.String(logkey.TunnelID, e.port.Tunnel.String())}
	if e.listener != nil {
		out = append(out, slog.String(logkey.Addr, e.listener.Addr().String()))
	}
	return out
}

// bind opens a listener. Its errors say what an operator can do about them.
func (s *Set) bind(ctx context.Context, p catalog.Port) (Listener, error) {
	if !s.cfg.allows(p.Number) {
		return nil, fmt.Errorf("route %s: %w: port %d is not allowed by ports.allow", p.Name(), catalog.ErrInvalid, p.Number)
	}
	addr, allowed := s.cfg.bindAddress(p.Addr)
	if !allowed {
		return nil, fmt.Errorf("route %s: %w: ports.address allows %s alone", p.Name(), catalog.ErrInvalid, s.cfg.Address)
	}
	where := fmt.Sprintf(":%d", p.Number)
	if addr.IsValid() {
		where = netip.AddrPortFrom(addr, p.Number).String()
	}
	var l Listener
	var err error
	switch {
	case p.Network == route.TCP:
		l, err = listenTCP(ctx, s.shared, where, p)
	case s.deps.Associate == nil:
		return nil, fmt.Errorf("route %s: %w: this edge serves no UDP ports", p.Name(), catalog.ErrInvalid)
	default:
		l, err = listenUDP(ctx, s.shared, where, p)
	}
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("route %s: the port is in use: %w", p.Name(), tunnel.ErrConflict)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("route %s: %w: the system does not permit this edge to open the port", p.Name(), catalog.ErrInvalid)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("route %s: %w: this host has no such address", p.Name(), catalog.ErrInvalid)
	}
	return nil, fmt.Errorf("route %s: %w: %w", p.Name(), catalog.ErrInvalid, err)
}

// count sets the gauges.
func (s *Set) count() {
	open, failed := 0, 0
	for _, e := range s.entries {
		if e.listener != nil {
			open++
		} else {
			failed++
		}
	}
	s.metrics.open.Set(float64(open))
	s.metrics.failed.Set(float64(failed))
}

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Defaults of a balancer.
const (
	defaultDialTimeout = 2 * time.Second
	defaultIdleTimeout = 30 * time.Second
	defaultMaxIdle     = 256
)

var errNoProxy = errors.New("no proxy is known")

// Proxy is one proxy that a Balancer may use.
type Proxy struct {
	ID       tunnel.ProxyID
	Endpoint Endpoint
}

// BalancerConfig configures a Balancer. Zero values mean the defaults.
type BalancerConfig struct {
	// TLS gives the client configuration for the next connection to a TCP endpoint; nil is no TLS.
	TLS    func() *tls.Config
	Logger *slog.Logger
	// DialTimeout bounds connecting, the handshake and the proxy's HELLO together. Default 2 s.
	DialTimeout time.Duration
	// IdleTimeout is how long a pooled connection may stay unused before it is closed. Default 30 s.
	IdleTimeout time.Duration
	// MaxIdle caps the idle connections to one proxy. Default 256.
	MaxIdle int
}

// Balancer is the carrier that spreads flows over several proxies. It picks the one with fewer flows in flight of two random
// ones, and has one circuit breaker per proxy.
type Balancer struct {
	cfg  BalancerConfig
	bufs buffers
	// set is replaced as a whole; the slice is never modified.
	set atomic.Pointer[[]*backend]

	// mu serialises SetProxies and Close.
	mu     sync.Mutex
	closed bool
}

var _ Carrier = (*Balancer)(nil)

// NewBalancer makes a balancer without proxies.
func NewBalancer(cfg BalancerConfig) *Balancer {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.MaxIdle <= 0 {
		cfg.MaxIdle = defaultMaxIdle
	}
	b := &Balancer{cfg: cfg}
	b.set.Store(new([]*backend))
	return b
}

// SetProxies replaces the set of proxies. Proxies in both sets keep their connections; flows on removed proxies run to their end.
func (b *Balancer) SetProxies(proxies []Proxy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	old := *b.set.Load()
	next := make([]*backend, 0, len(proxies))
	for _, p := range proxies {
		same := func(be *backend) bool { return be.Proxy == p }
		if slices.ContainsFunc(next, same) {
			continue
		}
		if i := slices.IndexFunc(old, same); i >= 0 {
			next = append(next, old[i])
			continue
		}
		next = append(next, newBackend(b, p))
	}
	b.set.Store(&next)
	for _, be := range old {
		if !slices.Contains(next, be) {
			be.retire()
		}
	}
}

// Carry runs f on one of the proxies. It goes on to the next one if a proxy did not accept a byte of f. If a proxy is lost
// that had the whole request and has not responded, Carry repeats the request once through another proxy (Meta.Repeat).
func (b *Balancer) Carry(ctx context.Context, f Flow) error {
	set := *b.set.Load()
	if f.Proxy != "" {
		return pinned(ctx, set, &f)
	}
	be := pick(set)
	var tried []*backend
	err := errNoProxy
	var lost error // set once the request is repeated
	for be != nil {
		o := be.carry(ctx, &f)
		tried = append(tried, be)
		switch {
		case o.notTaken:
			err = o.err
		case !o.lost:
			return repeated(lost, o.err)
		case f.Meta.Repeat:
			abortEdge(f.Stream)
			return o.err
		default:
			lost = o.err
			f.Meta.Repeat, f.EOF = true, true
			set = *b.set.Load() // it may have changed because of the loss
			b.cfg.Logger.DebugContext(ctx, "request repeated through another proxy", logkey.ProxyID, be.ID, logkey.Err, lost)
		}
		be = pickOther(set, tried)
	}
	if lost != nil {
		abortEdge(f.Stream)
		return lost
	}
	return fmt.Errorf("%w: %w", ErrNotAccepted, err)
}

// repeated is the result of a flow whose last attempt ended with err. A repeat that the proxy reset counts as lost.
func repeated(lost, err error) error {
	if lost != nil && errors.Is(err, ErrReset) {
		return fmt.Errorf("%w; repeat: %w", lost, err)
	}
	return err
}

func abortEdge(s EdgeStream) {
	s.CancelRead(0)
	s.CancelWrite(0)
}

// pinned runs f on the proxy that f.Proxy names, even if that proxy is leaving.
func pinned(ctx context.Context, set []*backend, f *Flow) error {
	i := slices.IndexFunc(set, func(be *backend) bool { return be.ID == f.Proxy })
	if i < 0 {
		return fmt.Errorf("%w: proxy %s is not known", ErrNotAccepted, f.Proxy)
	}
	o := set[i].carry(ctx, f)
	if o.notTaken {
		return fmt.Errorf("%w: %w", ErrNotAccepted, o.err)
	}
	if o.lost {
		abortEdge(f.Stream)
	}
	return o.err
}

// Proxies lists the proxies for new pinned flows: all that are not leaving and whose breaker is not open. If there is none, it
// lists every proxy.
func (b *Balancer) Proxies() []tunnel.ProxyID {
	set := *b.set.Load()
	all, staying := make([]tunnel.ProxyID, 0, len(set)), make([]tunnel.ProxyID, 0, len(set))
	for _, be := range set {
		all = append(all, be.ID)
		if !be.isLeaving() && be.breaker.State() != gobreaker.StateOpen {
			staying = append(staying, be.ID)
		}
	}
	if len(staying) == 0 {
		return all
	}
	return staying
}

// pick returns the better one of two random proxies.
func pick(set []*backend) *backend {
	switch len(set) {
	case 0:
		return nil
	case 1:
		return set[0]
	}
	i := rand.IntN(len(set))
	j := rand.IntN(len(set) - 1)
	if j >= i {
		j++
	}
	be := better(set[i], set[j])
	if be.isLeaving() {
		return pickOther(set, nil)
	}
	return be
}

// pickOther returns a proxy that was not tried, preferably one that is not leaving, or nil.
func pickOther(set, tried []*backend) *backend {
	var staying, leaving []*backend
	for _, be := range set {
		switch {
		case slices.Contains(tried, be):
		case be.isLeaving():
			leaving = append(leaving, be)
		default:
			staying = append(staying, be)
		}
	}
	if len(staying) == 0 {
		staying = leaving
	}
	if len(staying) < 2 {
		if len(staying) == 0 {
			return nil
		}
		return staying[0]
	}
	i := rand.IntN(len(staying))
	return better(staying[i], staying[(i+1)%len(staying)])
}

func better(a, b *backend) *backend {
	if al, bl := a.isLeaving(), b.isLeaving(); al != bl {
		if al {
			return b
		}
		return a
	}
	if b.inFlight.Load() < a.inFlight.Load() {
		return b
	}
	return a
}

// ProxyStatus is the state of one proxy of a balancer.
type ProxyStatus struct {
	ID       tunnel.ProxyID `json:"proxy_id"`
	Endpoint Endpoint       `json:"endpoint"`
	// Breaker is closed, half-open or open.
	Breaker  string `json:"breaker"`
	Leaving  bool   `json:"leaving"`
	InFlight int64  `json:"in_flight"`
	Idle     int    `json:"idle"`
}

// Status lists the proxies.
func (b *Balancer) Status() []ProxyStatus {
	set := *b.set.Load()
	out := make([]ProxyStatus, 0, len(set))
	for _, be := range set {
		out = append(out, ProxyStatus{
			ID:       be.ID,
			Endpoint: be.Endpoint,
			Breaker:  be.breaker.State().String(),
			Leaving:  be.isLeaving(),
			InFlight: be.inFlight.Load(),
			Idle:     be.idleCount(),
		})
	}
	return out
}

// Close closes all idle connections; running flows go on, and Carry accepts no more.
func (b *Balancer) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	old := *b.set.Load()
	b.set.Store(new([]*backend))
	for _, be := range old {
		be.retire()
	}
	return nil
}

// clientTLS is the configuration for the next connection, or nil.
func (b *Balancer) clientTLS() *tls.Config {
	if b.cfg.TLS == nil {
		return nil
	}
	return b.cfg.TLS()
}

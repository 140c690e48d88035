package connector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/connector/push"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Deps are the collaborators of a server.
type Deps struct {
	Tunnels *catalog.Catalog
	// TLS is for QUIC; the server derives the configuration for HTTP/2 from it.
	TLS *tls.Config
	// Location is the short name of this edge, which connectors show.
	Location string
	// MaxHeaderFields and MaxHeaderBytes bound the header, and the trailers, of a response over HTTP/2 (httpfield.Limits).
	MaxHeaderFields, MaxHeaderBytes int

	Datagrams  Datagrams
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Server accepts connectors.
type Server struct {
	cfg       Config
	deps      Deps
	metrics   *metrics
	pusher    *push.Pusher
	table     *registry.Table
	watch     *registry.Watch
	listeners []listener
	addrs     []netip.AddrPort

	// pending holds the function that ends each session that is not registered.
	pending     *quota.Table[netip.Prefix, context.CancelCauseFunc]
	registered  *quota.Counter[tunnel.ID]
	localConfig *quota.Counter[tunnel.ID]
}

// New binds every address.
func New(cfg Config, deps Deps) (*Server, error) {
	reg := deps.Registerer
	s := &Server{
		cfg: cfg, deps: deps, metrics: newMetrics(reg), table: registry.NewTable(), pusher: push.New(deps.Tunnels, reg),
		pending:     quota.NewTable[netip.Prefix, context.CancelCauseFunc](reg, "pending_sessions", cfg.pending()),
		registered:  quota.NewCounter[tunnel.ID](reg, "sessions", cfg.sessions()),
		localConfig: quota.NewCounter[tunnel.ID](reg, "local_config_bytes", cfg.localConfig()),
	}
	s.watch = registry.NewWatch(s.table, deps.Logger, reg)
	g := newGate(reg, cfg.pending())
	for _, addr := range cfg.Listen {
		ls, err := listen(addr, cfg.HTTP2, &deps, g)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connector listener %s: %w", addr, err), s.Close())
		}
		s.listeners = append(s.listeners, ls...)
		s.addrs = append(s.addrs, netip.AddrPortFrom(addr.Addr(), ls[0].Addr().Port()))
	}
	return s, nil
}

// Table has the registered connections. The server adds and removes them.
func (s *Server) Table() *registry.Table { return s.table }

// Addrs are the configured addresses with the ports that were bound, in the order of the configuration.
func (s *Server) Addrs() []netip.AddrPort { return slices.Clone(s.addrs) }

// Close closes the sockets. Run does that itself.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Run accepts sessions until ctx ends, closes all of them and waits for their goroutines.
func (s *Server) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	var sessions sync.WaitGroup
	for _, l := range s.listeners {
		g.Go(func() error { return s.accept(gctx, l, &sessions) })
	}
	g.Go(func() error { return s.watch.Run(gctx) })
	err := g.Wait()
	sessions.Wait()
	return errors.Join(err, s.Close())
}

func (s *Server) accept(ctx context.Context, l listener, sessions *sync.WaitGroup) error {
	for {
		sess, err := l.Accept(ctx)
		if ctx.Err() != nil {
			if err == nil {
				_ = sess.CloseWithError(transport.NoError, "") // the server is stopping; an error changes nothing
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("connector listener %s: %w", l.Addr(), err)
		}
		sessions.Go(func() { s.admit(ctx, sess, l.protocol) })
	}
}

// errEvicted ends a session that did not register before its place was needed.
var errEvicted = errors.New("evicted: too many sessions without a registration")

// admit finds a place for a session before anything is read from it, and serves it.
func (s *Server) admit(ctx context.Context, sess transport.Session, p tunnel.Protocol) {
	s.metrics.sessions.Inc()
	defer s.metrics.sessions.Dec()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	place, evicted, _ := s.pending.Admit(share.Network(sess.RemoteAddr().Addr()), cancel)
	if evicted != nil {
		evicted.Value(errEvicted)
	}
	if place == nil {
		s.count(admit.Limited)
		_ = sess.CloseWithError(transport.NoError, "too many sessions") // the peer may be gone already
		return
	}
	defer s.pending.Leave(place)
	c := newSession(s, sess, p, func() { s.pending.Leave(place) })
	c.serve(ctx, cancel)
}

func (s *Server) count(result admit.Result) {
	s.metrics.registrations.WithLabelValues(string(result)).Inc()
}

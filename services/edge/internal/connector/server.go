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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// Config says where to listen and how long to wait.
type Config struct {
	Listen []netip.AddrPort
	TLS    *tls.Config
	// HTTP2 says that connectors may come over HTTP/2, too.
	HTTP2           bool
	Location        string
	RegisterTimeout time.Duration
	ReplaceTimeout  time.Duration
	DrainTimeout    time.Duration
	MaxSessions     int
	MaxPending      int
}

// Deps are what the server works with.
type Deps struct {
	Tunnels    *catalog.Catalog
	Table      *registry.Table
	Datagrams  Datagrams
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Server accepts connectors.
type Server struct {
	cfg       Config
	deps      Deps
	metrics   *metrics
	listeners []listener
	addrs     []netip.AddrPort

	sessions atomic.Int64
	pending  atomic.Int64
}

// New binds every address.
func New(cfg Config, deps Deps) (*Server, error) {
	s := &Server{cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer)}
	for _, addr := range cfg.Listen {
		ls, err := listen(addr, cfg)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connector listener %s: %w", addr, err), s.Close())
		}
		s.listeners = append(s.listeners, ls...)
		s.addrs = append(s.addrs, netip.AddrPortFrom(addr.Addr(), ls[0].Addr().Port()))
	}
	return s, nil
}

// Addrs are the configured addresses with the ports that were bound, in the order of the configuration.
func (s *Server) Addrs() []netip.AddrPort { return slices.Clone(s.addrs) }

// Close frees the sockets of a server that never ran.
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
	err := g.Wait()
	sessions.Wait()
	return errors.Join(err, s.Close())
}

func (s *Server) accept(ctx context.Context, l listener, sessions *sync.WaitGroup) error {
	for {
		sess, err := l.Accept(ctx)
		if ctx.Err() != nil {
			if err == nil {
				_ = sess.CloseWithError(transport.NoError, "") // it came too late; the peer need not wait to learn it
			}
			return nil // the end that was asked for
		}
		if err != nil {
			return fmt.Errorf("connector listener %s: %w", l.Addr(), err)
		}
		sessions.Go(func() { s.admit(ctx, sess, l.protocol) })
	}
}

// admit bounds the number of sessions before anything is read from one.
func (s *Server) admit(ctx context.Context, sess transport.Session, p tunnel.Protocol) {
	s.metrics.sessions.Inc()
	defer s.metrics.sessions.Dec()
	over := s.sessions.Add(1) > int64(s.cfg.MaxSessions)
	defer s.sessions.Add(-1)
	if s.pending.Add(1) > int64(s.cfg.MaxPending) || over {
		s.pending.Add(-1)
		s.count(resultLimited)
		_ = sess.CloseWithError(transport.NoError, "too many sessions") // the peer may be gone, which is what we want
		return
	}
	s.serve(ctx, sess, p)
}

// serve is one session's life. Every way out closes the session.
func (s *Server) serve(ctx context.Context, sess transport.Session, p tunnel.Protocol) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	//nolint:contextcheck // the session's own end is to end ctx
	unlink := context.AfterFunc(sess.Context(), func() { cancel(context.Cause(sess.Context())) })
	defer unlink()

	log := s.deps.Logger.With(slog.String(logkey.EdgeAddr, sess.LocalAddr().String()), slog.String(logkey.RemoteAddr, sess.RemoteAddr().String()),
		slog.String(logkey.Protocol, string(p)))
	r := &registration{server: s, sess: sess, protocol: p, log: log, done: make(chan struct{})}
	var own sync.WaitGroup
	own.Go(func() { r.serveStreams(ctx, cancel) })

	conn := s.awaitRegistration(ctx, r)
	s.pending.Add(-1)
	if conn != nil {
		own.Go(func() { s.configure(ctx, conn, log) })
		own.Go(func() { s.deps.Datagrams.Serve(ctx, conn) })
		s.hold(ctx, conn, log)
		s.deps.Table.Remove(conn)
	}
	cancel(errors.New("session closed"))
	_ = sess.CloseWithError(transport.NoError, "") // it may be closed already
	own.Wait()
	// A registration may have been accepted while the session was given up.
	if late := r.registered(); late != nil {
		s.deps.Table.Remove(late)
	}
	if conn != nil {
		s.logEnd(ctx, conn, sess, log)
	}
}

// awaitRegistration returns nil when the session is to be dropped.
func (s *Server) awaitRegistration(ctx context.Context, r *registration) *registry.Conn {
	limit := time.NewTimer(s.cfg.RegisterTimeout)
	defer limit.Stop()
	select {
	case <-r.done:
		return r.registered()
	case <-ctx.Done():
		if !r.asked() {
			s.count(resultProbe)
			r.log.DebugContext(ctx, "session ended without a registration")
		}
	case <-limit.C:
		if !r.asked() {
			s.count(resultTimeout)
		}
		r.log.InfoContext(ctx, "session dropped: no registration in time")
	}
	return nil
}

// hold waits until a registered session ends or is to be ended.
func (s *Server) hold(ctx context.Context, conn *registry.Conn, log *slog.Logger) {
	select {
	case <-ctx.Done():
		return
	case <-conn.Retired():
	}
	state := s.deps.Table.StateOf(conn)
	log.InfoContext(ctx, "connection takes no new requests", slog.String(logkey.State, string(state)), slog.Int64(logkey.InFlight, conn.InFlight()))
	wait := s.cfg.ReplaceTimeout
	if state == registry.Unregistered {
		wait = s.cfg.DrainTimeout // the connector ends the session itself (docs/spec/wire.md 8.4)
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for state == registry.Unregistered || conn.InFlight() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-limit.C:
			return
		case <-conn.Drained():
		}
	}
}

func (s *Server) logEnd(ctx context.Context, conn *registry.Conn, sess transport.Session, log *slog.Logger) {
	cause := context.Cause(sess.Context()) //nolint:contextcheck // the session knows why it ended
	reason := tunnel.ReasonOf(cause)
	if reason == tunnel.ReasonNone {
		s.metrics.ended.WithLabelValues("closed").Inc()
	} else {
		s.metrics.ended.WithLabelValues(string(reason)).Inc()
	}
	log.InfoContext(ctx, "connection ended", slog.String(logkey.TunnelID, conn.Slot.Tunnel.String()), slog.String(logkey.ConnectorID, conn.Slot.Connector.String()),
		slog.Int(logkey.ConnIndex, int(conn.Slot.Index)), slog.Any(logkey.Err, cause))
}

func (s *Server) count(result string) { s.metrics.registrations.WithLabelValues(result).Inc() }

package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// A visitor over HTTP/2 of whom nothing is heard for pingAfter is asked, and is gone when pingTimeout passes without an
// answer.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 30 * time.Second
)

// Config says where to listen and how long to wait.
type Config struct {
	HTTP  netip.AddrPort
	HTTPS netip.AddrPort
	// TLS is needed with HTTPS.
	TLS                   *tls.Config
	Location              string
	ResponseHeaderTimeout time.Duration
	ReadHeaderTimeout     time.Duration
	IdleTimeout           time.Duration
	BodyIdleTimeout       time.Duration
	DrainTimeout          time.Duration
	ExposeErrors          bool
	// HalfCloseTimeout bounds how long one direction of an upgraded stream may be silent once the other has ended.
	HalfCloseTimeout time.Duration
	Limits           Limits
}

// Limits bound what visitors can take up.
type Limits struct {
	Connections int
	// Streams is how many requests one visitor may have in flight on one HTTP/2 connection.
	Streams    int
	WebSockets int
	HeadBytes  int
	// BodyRate is the number of bytes per second that a body of declared length must reach on average.
	BodyRate int
}

// router finds the tunnel of a canonical host.
type router interface {
	Lookup(host string) (route.Entry, bool)
}

// picker chooses the connection for a request.
type picker interface {
	Pick(id tunnel.ID, not *registry.Conn) (*registry.Conn, bool)
}

// Deps are what the front works with.
type Deps struct {
	Routes router
	Conns  picker
	// Backlog may cut answers that nobody reads; nil lets them be.
	Backlog    *backlog.Watch
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Front serves the public.
type Front struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	keys    headerKeys
	plain   *listener
	secure  *listener
	// upgrades are the streams that were upgraded, which the servers know nothing of.
	upgrades *upgrades
	guards   guards
	// failures bounds how often failed requests are logged.
	failures  throttle
	page      *template.Template
	scratches sync.Pool
	buffers   sync.Pool
	// pipes is for upgraded streams, which are idle most of the time.
	pipes flexbuf.Pool
}

// New binds the listeners.
func New(cfg Config, deps Deps) (*Front, error) {
	f := &Front{cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer), keys: newHeaderKeys(), page: newPage()}
	f.guards.metrics = f.metrics
	f.upgrades = newUpgrades(cfg.Limits.WebSockets, f.metrics)
	seats := &seats{max: int64(cfg.Limits.Connections), metrics: f.metrics}
	f.scratches.New, f.buffers.New = newScratch, newBuffer
	var err error
	if cfg.HTTP.IsValid() {
		if f.plain, err = listen(cfg.HTTP, cfg.BodyIdleTimeout, seats); err != nil {
			return nil, fmt.Errorf("public http listener: %w", err)
		}
	}
	if cfg.HTTPS.IsValid() {
		if f.secure, err = listen(cfg.HTTPS, cfg.BodyIdleTimeout, seats); err != nil {
			return nil, errors.Join(fmt.Errorf("public https listener: %w", err), f.Close())
		}
	}
	return f, nil
}

// Addr is the bound address for HTTP, or the zero value.
func (f *Front) Addr() netip.AddrPort { return addrOf(f.plain) }

// TLSAddr is the bound address for HTTPS, or the zero value.
func (f *Front) TLSAddr() netip.AddrPort { return addrOf(f.secure) }

func addrOf(l *listener) netip.AddrPort {
	if l == nil {
		return netip.AddrPort{}
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Close frees the listeners of a front that never ran.
func (f *Front) Close() error {
	var errs []error
	for _, l := range []*listener{f.plain, f.secure} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, then lets running requests finish for a while.
func (f *Front) Run(ctx context.Context) error {
	var g errgroup.Group
	if f.plain != nil {
		srv := f.server("http")
		srv.Protocols.SetUnencryptedHTTP2(true)
		l := guardedListener{f.plain, &f.guards}
		g.Go(func() error { return f.serve(ctx, srv, func() error { return srv.Serve(l) }) })
	}
	if f.secure != nil {
		srv := f.server("https")
		srv.Protocols.SetHTTP2(true)
		srv.TLSConfig = f.cfg.TLS.Clone() // the server adds to it
		l := newSecureListener(f.secure, f.cfg.TLS, f.cfg.ReadHeaderTimeout, &f.guards)
		g.Go(func() error { return l.run(ctx) })
		g.Go(func() error { return f.serve(ctx, srv, func() error { return srv.Serve(l) }) })
	}
	g.Go(func() error { return f.upgrades.drain(ctx, f.cfg.DrainTimeout) })
	return g.Wait()
}

func (f *Front) server(scheme string) *http.Server {
	var p http.Protocols
	p.SetHTTP1(true)
	return &http.Server{
		Handler:           handler{f, scheme},
		Protocols:         &p,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: f.cfg.Limits.Streams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ReadHeaderTimeout: f.cfg.ReadHeaderTimeout,
		IdleTimeout:       f.cfg.IdleTimeout,
		MaxHeaderBytes:    f.cfg.Limits.HeadBytes,
		ConnContext:       withGuard,
		ErrorLog:          slog.NewLogLogger(f.deps.Logger.Handler(), slog.LevelDebug),
	}
}

// serve runs one server until ctx ends: stop accepting, let requests finish, cut the rest.
func (f *Front) serve(ctx context.Context, srv *http.Server, run func() error) error {
	ended := make(chan error, 1) // one send, also when nobody reads it any more
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return fmt.Errorf("public server: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.DrainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		f.guards.hurry.Store(true)
		_ = srv.Close() // the slow requests were given their time
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("public server: %w", err)
	}
	return nil
}

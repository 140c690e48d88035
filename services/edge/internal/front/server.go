package front

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/forwarded"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
	"github.com/culvert-tunnel/culvert/services/edge/internal/upgrade"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
)

const (
	// A visitor over HTTP/2 that is silent for pingAfter gets a ping. Without a reply within pingTimeout its connection is closed.
	pingAfter   = 30 * time.Second
	pingTimeout = 30 * time.Second
	// requestLineRoom is what a request head over HTTP/1 may have beyond the target and the fields.
	requestLineRoom = 4 << 10
	// logInterval is the least time between two warnings about failed requests.
	logInterval = time.Second
)

// router finds the tunnel of a canonical host.
type router interface {
	Lookup(host string) (route.Entry, bool)
}

// Deps are what the front works with.
type Deps struct {
	Routes router
	Conns  dispatch.ConnectorPicker
	// Backlog aborts responses that fill a connection's window while their visitors read nothing; nil aborts none.
	Backlog *backlog.Watch
	// Management serves the management host; without it the host is like any other.
	Management Management
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Front serves visitors.
type Front struct {
	cfg     Config
	deps    Deps
	metrics *metrics
	gate    *visitorconn.Gate
	sender  *dispatch.Sender
	plain   *visitorconn.Listener
	secure  *visitorconn.Listener
	// upgrades tracks the upgraded streams, which the servers do not track.
	upgrades *upgrade.Streams
	proxies  forwarded.Proxies
	// header bounds header and trailer sections.
	header httpfield.Limits
	// loopItem is this edge's item in Cdn-Loop.
	loopItem string
	// warnings bounds how often failed requests are logged.
	warnings  *rate.Limiter
	page      *template.Template
	scratches sync.Pool
	buffers   sync.Pool
}

// New binds the listeners.
func New(cfg Config, deps Deps) (*Front, error) {
	proxies, err := forwarded.ParseProxies(cfg.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	f := &Front{
		cfg: cfg, deps: deps, metrics: newMetrics(deps.Registerer), page: newPage(), loopItem: newLoopItem(),
		warnings: rate.NewLimiter(rate.Every(logInterval), 1), proxies: proxies, header: cfg.Limits.header(),
	}
	f.sender = dispatch.NewSender(deps.Conns, f.metrics.retries)
	f.gate = visitorconn.NewGate(visitorconn.Config{
		WriteTimeout: cfg.BodyIdleTimeout, PrepareTimeout: cfg.ReadHeaderTimeout,
		Connections: cfg.Limits.Connections, ConnectionsPerAddress: cfg.Limits.ConnectionsPerAddress,
		TargetBytes: cfg.Limits.TargetBytes, Header: f.header, Proxies: proxies, ProxyProtocol: cfg.ProxyProtocol,
	}, deps.Registerer)
	f.upgrades = upgrade.New(upgrade.Config{
		Max: cfg.Limits.WebSockets, MaxPerAddress: cfg.Limits.WebSocketsPerAddress, WriteTimeout: cfg.BodyIdleTimeout,
		HalfCloseTimeout: cfg.HalfCloseTimeout, DrainTimeout: cfg.DrainTimeout,
	}, deps.Backlog, deps.Registerer)
	f.scratches.New, f.buffers.New = newScratch, newBuffer
	if cfg.HTTP.IsValid() {
		if f.plain, err = f.gate.Listen(cfg.HTTP, nil); err != nil {
			return nil, fmt.Errorf("public http listener: %w", err)
		}
	}
	if cfg.HTTPS.IsValid() {
		if f.secure, err = f.gate.Listen(cfg.HTTPS, cfg.TLS); err != nil {
			return nil, errors.Join(fmt.Errorf("public https listener: %w", err), f.Close())
		}
	}
	return f, nil
}

// newLoopItem makes the identifier of one process: a request that passes the same process again and again is in a loop,
// while two edges in a row are not.
func newLoopItem() string { return "culvert-" + strconv.FormatUint(rand.Uint64(), 16) }

// Addr is the bound address for HTTP, or the zero value.
func (f *Front) Addr() netip.AddrPort { return addrOf(f.plain) }

// TLSAddr is the bound address for HTTPS, or the zero value.
func (f *Front) TLSAddr() netip.AddrPort { return addrOf(f.secure) }

func addrOf(l *visitorconn.Listener) netip.AddrPort {
	if l == nil {
		return netip.AddrPort{}
	}
	return l.AddrPort()
}

// Close frees the listeners of a front that never ran.
func (f *Front) Close() error {
	var errs []error
	for _, l := range []*visitorconn.Listener{f.plain, f.secure} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, then gives running requests the drain timeout to finish.
func (f *Front) Run(ctx context.Context) error {
	var g errgroup.Group
	run := func(scheme string, l *visitorconn.Listener, set func(*http.Server)) {
		if l == nil {
			return
		}
		srv := f.server(scheme)
		set(srv)
		g.Go(func() error { return l.Run(ctx) })
		g.Go(func() error { return f.serve(ctx, srv, l) })
	}
	run("http", f.plain, func(srv *http.Server) { srv.Protocols.SetUnencryptedHTTP2(true) })
	run("https", f.secure, func(srv *http.Server) {
		srv.Protocols.SetHTTP2(true)
		srv.TLSConfig = f.cfg.TLS.Clone() // the server adds to it
	})
	g.Go(func() error { return f.upgrades.Run(ctx) })
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
		MaxHeaderBytes:    f.header.MaxBytes + f.cfg.Limits.TargetBytes + requestLineRoom,
		ConnContext:       f.gate.Context,
		ErrorLog:          slog.NewLogLogger(f.deps.Logger.Handler(), slog.LevelDebug),
	}
}

// serve runs one server until ctx ends: then it stops to accept, lets requests finish, and closes the rest.
func (f *Front) serve(ctx context.Context, srv *http.Server, l *visitorconn.Listener) error {
	ended := make(chan error, 1) // room for the only send, which may come after the last receive
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("public server: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.cfg.DrainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		f.gate.CloseAtOnce()
		_ = srv.Close() // the remaining requests have had their time
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("public server: %w", err)
	}
	return nil
}

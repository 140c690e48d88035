package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"
)

const (
	readHeaderTimeout = 5 * time.Second
	// ioTimeout bounds the reading of a request and the writing of its response. Profiles that run for longer extend it themselves.
	ioTimeout = 10 * time.Second
)

// Config is the ops section of a process.
type Config struct {
	Listen string `yaml:"listen" usage:"address of the private listener for health, metrics and the ops API; empty for none"`
	// Hosts are the names that the Host of a request may have, beside localhost and every IP address; see HostGuard.
	Hosts []string `yaml:"hosts" usage:"host names that requests may use beside localhost and IP addresses; * allows every name"`
	// TokenFile opens calls that change something, and the profiles on a listener that is not on the loopback interface.
	TokenFile string `yaml:"token_file" usage:"file with the bearer token of changes over TCP, and of profiles where the listener is not on the loopback interface"`
	// Socket takes changes from this host without a token.
	Socket string `yaml:"socket" usage:"Unix socket of the same API, which takes changes without a token; empty makes one for this user, none is none"`
}

// Validate reports an address without a port.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Readier is a part that can say whether it does its job: nil, or why not.
type Readier interface{ Ready() error }

// Mounter is a part with routes of its own.
type Mounter interface{ Routes(g *echo.Group) }

// Deps is what the server needs from its process.
type Deps struct {
	Logger  *slog.Logger
	Metrics http.Handler
	Version string
	// LocalProfiles opens the profiles to requests from this host on a listener that is open to others, without a token.
	LocalProfiles bool
}

// Server is the ops server of one process.
type Server struct {
	cfg      Config
	deps     Deps
	ln       net.Listener
	socket   net.Listener // nil without one
	echo     *echo.Echo
	parts    []part
	stopping atomic.Bool
	// authority and scopers are parts; nil and empty without them.
	authority Authority
	scopers   []Scoper
	limits    limits
}

type part struct {
	name  string
	ready func() error
}

// New binds the listener of cfg. With an empty address the server has no listener and Run only waits.
func New(ctx context.Context, cfg Config, deps Deps) (*Server, error) {
	s := &Server{cfg: cfg, deps: deps, echo: echo.New()}
	if cfg.Listen != "" {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, network(cfg.Listen), cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("ops listener: %w", err)
		}
		s.ln = ln
		if s.socket, err = s.openSocket(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = ErrorHandler(deps.Logger) //nolint:contextcheck // a response has its request's context
	s.get("/healthz", s.healthz)
	s.get("/readyz", s.readyz)
	if deps.Metrics != nil {
		s.get("/metrics", echo.WrapHandler(deps.Metrics))
	}
	s.get("/v1/listener", func(c echo.Context) error { return c.JSON(http.StatusOK, ListenerInfo{ChangesSocket: s.Socket()}) })
	s.mountProfiles()
	return s, nil
}

// network limits a listener on an IPv4 address to IPv4: "tcp" would take 0.0.0.0 as every address of both families.
func network(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().Unmap().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// Add makes v a part of the server under name: its readiness, if it is a Readier, and its routes, if it is a Mounter.
// It must not be called after Run.
func (s *Server) Add(name string, v any) {
	if r, ok := v.(Readier); ok {
		s.parts = append(s.parts, part{name: name, ready: r.Ready})
	}
	if a, ok := v.(Authority); ok {
		s.authority = a
	}
	if t, ok := v.(Scoper); ok {
		s.scopers = append(s.scopers, t)
	}
	if m, ok := v.(Mounter); ok {
		m.Routes(s.echo.Group(base, s.guard))
	}
}

// Handle adds a plain handler for GET and HEAD requests on path, outside of /v1. It must not be called after Run.
func (s *Server) Handle(path string, h http.Handler) { s.get(path, echo.WrapHandler(h)) }

// get adds a handler for GET and HEAD requests: some probes use HEAD.
func (s *Server) get(path string, h echo.HandlerFunc) {
	s.echo.Match([]string{http.MethodGet, http.MethodHead}, path, h)
}

// Addr is the bound address, or the zero value without a listener.
func (s *Server) Addr() netip.AddrPort {
	if s.ln == nil {
		return netip.AddrPort{}
	}
	if a, ok := s.ln.Addr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// SetStopping turns /readyz to not ready for good: the first step of every shutdown.
func (s *Server) SetStopping() { s.stopping.Store(true) }

// Listeners are the addresses of the server: TCP, and Unix if there is a socket.
func (s *Server) Listeners() []net.Addr {
	var out []net.Addr
	for _, ln := range s.open() {
		out = append(out, ln.Addr())
	}
	return out
}

func (s *Server) open() []net.Listener {
	return slices.DeleteFunc([]net.Listener{s.ln, s.socket}, func(ln net.Listener) bool { return ln == nil })
}

// Close frees the listeners of a server whose Run is never called.
func (s *Server) Close() error {
	var errs []error
	for _, ln := range s.open() {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, and then lets running requests finish for a short while.
func (s *Server) Run(ctx context.Context) error {
	if s.ln == nil {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, ln := range s.open() {
		g.Go(func() error { return Serve(ctx, "ops server", s.server(), ln) })
	}
	return g.Wait()
}

func (s *Server) server() *http.Server {
	return &http.Server{
		Handler: s.byListener(), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
		ErrorLog: slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
	}
}

// byListener checks the Host of requests over TCP. A browser cannot reach a Unix socket.
func (s *Server) byListener() http.Handler {
	guarded := HostGuard(s.cfg.Hosts, s.echo)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if overSocket(r) {
			s.echo.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// mountProfiles adds the profiles: open on the loopback interface, elsewhere only for the holder of the token, and, with
// LocalProfiles, for this host.
func (s *Server) mountProfiles() {
	open := s.Addr().Addr().Unmap().IsLoopback()
	if !open && s.cfg.TokenFile == "" && !s.deps.LocalProfiles {
		return
	}
	guard := func(h http.HandlerFunc) echo.HandlerFunc {
		switch {
		case open:
			return echo.WrapHandler(pageGuard(h))
		case s.cfg.TokenFile != "":
			return echo.WrapHandler(tokenGuard(s.cfg.TokenFile, h))
		}
		return echo.WrapHandler(localGuard(pageGuard(h)))
	}
	g := s.echo.Group("/debug/pprof")
	g.GET("/cmdline", func(echo.Context) error { // argv may hold secrets
		return echo.NewHTTPError(http.StatusForbidden, "the command line is not shown")
	})
	g.GET("/profile", guard(pprof.Profile))
	g.GET("/symbol", guard(pprof.Symbol))
	g.GET("/trace", guard(pprof.Trace))
	g.GET("", guard(pprof.Index))
	g.GET("/*", guard(pprof.Index))
}

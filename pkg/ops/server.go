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
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	readHeaderTimeout = 5 * time.Second
	shutdownTimeout   = 3 * time.Second
)

// Config is the ops section of a process.
type Config struct {
	Listen string `yaml:"listen" usage:"address of the private listener for health, metrics and the ops API; empty for none"`
}

// Validate reports an address that cannot be one.
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
}

// Server is the ops server of one process.
type Server struct {
	deps     Deps
	ln       net.Listener
	echo     *echo.Echo
	parts    []part
	stopping atomic.Bool
}

type part struct {
	name  string
	ready func() error
}

// New binds the listener of cfg. With an empty address the server has no listener and Run only waits.
func New(ctx context.Context, cfg Config, deps Deps) (*Server, error) {
	s := &Server{deps: deps, echo: echo.New()}
	if cfg.Listen != "" {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("ops listener: %w", err)
		}
		s.ln = ln
	}
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = s.problem
	s.echo.GET("/healthz", s.healthz)
	s.echo.GET("/readyz", s.readyz)
	if deps.Metrics != nil {
		s.echo.GET("/metrics", echo.WrapHandler(deps.Metrics))
	}
	if s.private() {
		s.mountProfiles()
	}
	return s, nil
}

// Add makes v a part of the server under name: its readiness, if it is a Readier, and its routes, if it is a Mounter.
// It must not be called after Run.
func (s *Server) Add(name string, v any) {
	if r, ok := v.(Readier); ok {
		s.parts = append(s.parts, part{name: name, ready: r.Ready})
	}
	if m, ok := v.(Mounter); ok {
		m.Routes(s.echo.Group("/v1"))
	}
}

// Handle adds a plain handler for GET requests on path, outside of /v1. It must not be called after Run.
func (s *Server) Handle(path string, h http.Handler) { s.echo.GET(path, echo.WrapHandler(h)) }

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

// Close frees the listener of a server whose Run is never called.
func (s *Server) Close() error {
	if s.ln == nil {
		return nil
	}
	return s.ln.Close()
}

// Run serves until ctx ends, and then lets running requests finish for a short while.
func (s *Server) Run(ctx context.Context) error {
	if s.ln == nil {
		<-ctx.Done()
		return nil
	}
	srv := &http.Server{
		Handler: s.echo, ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog: slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1) // one send, also when nobody reads any more
	go func() { served <- srv.Serve(s.ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("ops server: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // the slow requests were given their time
	}
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ops server: %w", err)
	}
	return nil
}

// private reports whether only this host or a private network can reach the listener.
func (s *Server) private() bool {
	ip := s.Addr().Addr().Unmap()
	return ip.IsValid() && (ip.IsLoopback() || ip.IsPrivate())
}

func (s *Server) mountProfiles() {
	g := s.echo.Group("/debug/pprof")
	g.GET("/cmdline", func(c echo.Context) error { // argv may hold secrets
		return echo.NewHTTPError(http.StatusForbidden, "the command line is not shown")
	})
	g.GET("/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	g.GET("/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
	g.GET("/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
	g.GET("", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	g.GET("/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
}

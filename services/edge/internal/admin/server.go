package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	socketMode        = 0o600
	readHeaderTimeout = 5 * time.Second
	bodyLimit         = 1 << 20 // a configuration with thousands of rules fits
	// minToken is the shortest bearer token that is accepted.
	minToken = 16
)

// Config says where to listen.
type Config struct {
	Socket string
	// Listen is optional; it needs TokenFile.
	Listen    netip.AddrPort
	TokenFile string
}

// Server serves the API.
type Server struct {
	api    *API
	socket net.Listener
	tcp    net.Listener
	token  tunnel.Secret
}

// New binds the listeners.
func New(cfg Config, api *API) (*Server, error) {
	s := &Server{api: api}
	var err error
	if cfg.Listen.IsValid() {
		if s.token, err = readToken(cfg.TokenFile); err != nil {
			return nil, err
		}
	}
	if s.socket, err = listenUnix(cfg.Socket); err != nil {
		return nil, err
	}
	if cfg.Listen.IsValid() {
		var lc net.ListenConfig
		if s.tcp, err = lc.Listen(context.Background(), "tcp", cfg.Listen.String()); err != nil { // binding does not wait
			return nil, errors.Join(fmt.Errorf("admin listener: %w", err), s.socket.Close())
		}
	}
	return s, nil
}

// listenUnix replaces the socket that a killed edge left; the caller holds the lock on the data directory, so no
// other edge listens there. The file appears with its final mode only.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("admin socket %s: something else has that name", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(fresh, socketMode)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return &socket{l, path}, nil
}

// socket removes its file when it closes.
type socket struct {
	*net.UnixListener
	path string
}

func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if err == nil {
		_ = os.Remove(s.path) // a socket without a listener is harmless, and replaced at the next start
	}
	return err
}

func readToken(path string) (tunnel.Secret, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < minToken {
		return nil, fmt.Errorf("admin token %s: shorter than %d characters", path, minToken)
	}
	return tunnel.Secret(token), nil
}

// Addr is the TCP address, or the zero value.
func (s *Server) Addr() netip.AddrPort {
	if s.tcp == nil {
		return netip.AddrPort{}
	}
	if a, ok := s.tcp.Addr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// Close frees the listeners of a server that never ran.
func (s *Server) Close() error {
	err := s.socket.Close()
	if s.tcp != nil {
		err = errors.Join(err, s.tcp.Close())
	}
	return err
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return s.serve(ctx, s.socket, s.handler()) })
	if s.tcp != nil {
		g.Go(func() error { return s.serve(ctx, s.tcp, s.authorized(s.handler())) })
	}
	return g.Wait()
}

func (s *Server) handler() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = ops.ErrorHandler(s.api.deps.Logger, statusRules()...)
	g := e.Group("/v1")
	s.api.Read(g)
	s.api.Write(g)
	return http.MaxBytesHandler(e, bodyLimit)
}

// authorized requires the header "Authorization: Bearer TOKEN". Both sides are hashed, so that the time of the comparison shows
// nothing of the token, not even its length.
func (s *Server) authorized(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !bearer {
			w.Header().Set("WWW-Authenticate", "Bearer")
			ops.WriteProblem(w, http.StatusUnauthorized, "bearer token missing or wrong")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: 2 * readHeaderTimeout,
		ErrorLog: slog.NewLogLogger(s.api.deps.Logger.Handler(), slog.LevelDebug),
	}
	return ops.Serve(ctx, "admin server", srv, l)
}

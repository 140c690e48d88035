package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
)

const (
	socketMode        = 0o600
	readHeaderTimeout = 5 * time.Second
	bodyLimit         = 1 << 20 // a configuration with thousands of rules fits
	// minToken is the minimum length of a bearer token, maxToken the maximum size of its file.
	minToken, maxToken = 16, 4096
)

// Config says where to listen.
type Config struct {
	Socket string
	// Listen is optional; it requires TokenFile and TLS.
	Listen    netip.AddrPort
	TokenFile string
	TLS       *tls.Config
	// Hosts are the host names that requests over TCP may be sent to, besides localhost and IP addresses.
	Hosts []string
}

// Server serves the API.
type Server struct {
	api    *API
	socket net.Listener
	tcp    net.Listener
	hosts  []string
	// addr is the address of tcp.
	addr netip.AddrPort
	// token is the hash of the bearer token.
	token atomic.Pointer[[sha256.Size]byte]
}

// New binds the listeners. The token file is read again when files sees that it has changed.
func New(cfg Config, api *API, files *filewatch.Watcher) (*Server, error) {
	s := &Server{api: api, hosts: cfg.Hosts}
	if cfg.Listen.IsValid() {
		if err := s.readToken(cfg.TokenFile, files); err != nil {
			return nil, err
		}
	}
	var err error
	if s.socket, err = listenUnix(cfg.Socket); err != nil {
		return nil, err
	}
	if cfg.Listen.IsValid() {
		var lc net.ListenConfig
		network := "tcp"
		if cfg.Listen.Addr().Unmap().Is4() {
			network = "tcp4" // "tcp" would take 0.0.0.0 as every address of both families
		}
		tcp, err := lc.Listen(context.Background(), network, cfg.Listen.String()) // binding does not wait
		if err != nil {
			return nil, errors.Join(fmt.Errorf("admin listener: %w", err), s.socket.Close())
		}
		if a, ok := tcp.Addr().(*net.TCPAddr); ok {
			s.addr = a.AddrPort()
		}
		s.tcp = tls.NewListener(tcp, cfg.TLS)
	}
	return s, nil
}

// listenUnix replaces the socket that a killed edge has left. The caller holds the lock on the data directory, so no other edge
// listens there. The file gets its final mode before its final name.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("admin socket %s: the file exists and is not a socket", path)
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

// readToken reads the token now and whenever the file changes.
func (s *Server) readToken(path string, files *filewatch.Watcher) error {
	_, err := files.Add(filewatch.Set{Name: "admin token", Paths: []string{path}, MaxBytes: maxToken, Apply: func(contents [][]byte) error {
		token := bytes.TrimSpace(contents[0])
		if len(token) < minToken {
			return fmt.Errorf("%s: shorter than %d characters", path, minToken)
		}
		s.warnIfReadable(path)
		hash := sha256.Sum256(token)
		s.token.Store(&hash)
		return nil
	}})
	return err
}

// warnIfReadable logs a warning if all users of the machine can read the token.
func (s *Server) warnIfReadable(path string) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o004 != 0 {
		s.api.deps.Logger.Warn("admin token file is readable by every user of this machine: set its mode to 0600",
			slog.String(logkey.File, path))
	}
}

// Addr is the TCP address, or the zero value.
func (s *Server) Addr() netip.AddrPort { return s.addr }

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
	g.Go(func() error { return s.serve(ctx, s.socket, s.handler()) }) //nolint:contextcheck // a response has its request's context
	if s.tcp != nil {
		handler := ops.HostGuard(s.hosts, s.authorized(s.handler())) //nolint:contextcheck // a response has its request's context
		g.Go(func() error { return s.serve(ctx, s.tcp, handler) })
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
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		want := s.token.Load()
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

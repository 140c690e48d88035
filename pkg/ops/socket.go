package ops

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/rundir"
)

const (
	// noSocket is the value of Config.Socket for none.
	noSocket = "none"
	// socketLook bounds the look for a socket of this host.
	socketLook = 2 * time.Second
	socketMode = 0o600
)

// ListenerInfo is the response on /v1/listener.
type ListenerInfo struct {
	// ChangesSocket is the path of the Unix socket that takes changes without a token; empty for none.
	ChangesSocket string `json:"changes_socket"`
}

// openSocket binds the Unix socket, for this user alone. Without a directory for it there is none, and changes need a token.
func (s *Server) openSocket(ctx context.Context) (net.Listener, error) {
	path := s.cfg.Socket
	switch path {
	case noSocket:
		return nil, nil //nolint:nilnil // none was wanted
	case "":
		ln, err := s.makeSocket(ctx)
		if err != nil {
			s.deps.Logger.InfoContext(ctx, "no Unix socket for changes, they need a token", slog.Any(logkey.Err, err))
		}
		return ln, nil
	}
	if err := removeDead(ctx, path); err != nil {
		return nil, fmt.Errorf("ops.socket: %w", err)
	}
	ln, err := listenUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("ops.socket: %w", err)
	}
	return ln, nil
}

// makeSocket binds a socket of a new name in the directory of this user. The name begins with the address of the TCP listener, which no
// other process has, so sockets of processes that died with it are removed.
func (s *Server) makeSocket(ctx context.Context) (net.Listener, error) {
	dir, err := rundir.OfService()
	if err != nil {
		return nil, err
	}
	stem := filepath.Join(dir, "ops-"+strings.NewReplacer(":", "_", "[", "", "]", "", "%", "_").Replace(s.ln.Addr().String())+"-")
	former, _ := filepath.Glob(stem + "*.sock") // the pattern is a good one
	for _, path := range former {
		_ = removeDead(ctx, path) // it only lies there
	}
	return listenUnix(ctx, stem+rand.Text()[:8]+".sock")
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// removeDead removes a socket that nobody listens on. Anything else at the path stays.
func removeDead(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil //nolint:nilerr // to listen there says what is wrong
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	if err == nil {
		_ = c.Close() // it was only opened to see whether somebody listens
	}
	return nil
}

// Socket is the path of the Unix socket, or empty.
func (s *Server) Socket() string {
	if s.socket == nil {
		return ""
	}
	return s.socket.Addr().String()
}

// socketHint says where changes are taken without a token.
func (s *Server) socketHint() string {
	if path := s.Socket(); path != "" {
		return fmt.Sprintf("; without one, the user with the id %d of this host and root make them through unix:%s", os.Getuid(), path)
	}
	return ""
}

// overSocket reports whether a request came over a Unix socket.
func overSocket(r *http.Request) bool {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && a.Network() == "unix"
}

// LocalSocket is the address of the Unix socket that belongs to a listener on this host, if there is one that this user may open; else it
// is address.
func LocalSocket(ctx context.Context, address string) string {
	u, err := url.Parse(address)
	if err != nil || !isThisHost(u.Hostname()) {
		return address
	}
	c, err := Dial("listener", address, nil, nil)
	if err != nil {
		return address
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, socketLook)
	defer cancel()
	var info ListenerInfo
	if err := c.Call(ctx, http.MethodGet, "/v1/listener", nil, &info); err != nil || !filepath.IsAbs(info.ChangesSocket) {
		return address
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", info.ChangesSocket)
	if err != nil {
		return address
	}
	_ = conn.Close() // it was only opened to see whether it can be
	return "unix:" + info.ChangesSocket
}

func isThisHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

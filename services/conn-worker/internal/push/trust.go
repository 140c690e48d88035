package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Trust decides which proxies of the store a worker connects to. A record in the store proves nothing: whoever can write there
// could redirect requests and configurations. So the proof is that of the link itself: mutual TLS for TCP, and a directory that
// the operator has named for Unix sockets.
type Trust struct {
	// TLS means that connections over TCP are authenticated. Without it no TCP endpoint is used.
	TLS bool
	// SocketDir is the directory below which Unix sockets are used; empty means none.
	SocketDir string
}

// Errors of Trust.Check.
var (
	errPlainTCP   = errors.New("endpoint over TCP, but this worker has no link certificates (link.tls_dir)")
	errOutside    = errors.New("unix socket outside of link.socket_dir")
	errOtherHost  = errors.New("no such socket on this host")
	errNoEndpoint = errors.New("no endpoint")
)

// Check returns nil when the worker may connect to e.
func (t Trust) Check(e link.Endpoint) error {
	switch {
	case e.IsZero():
		return errNoEndpoint
	case !e.IsUnix():
		if !t.TLS {
			return errPlainTCP
		}
		return nil
	case t.SocketDir == "" || !filepath.IsAbs(e.Address()):
		return errOutside
	case !e.IsHere():
		return errOtherHost
	}
	dir, err := filepath.EvalSymlinks(t.SocketDir)
	if err != nil {
		return fmt.Errorf("%w: %w", errOutside, err)
	}
	socket, err := filepath.EvalSymlinks(e.Address())
	if err != nil {
		return fmt.Errorf("%w: %w", errOtherHost, err)
	}
	if rel, err := filepath.Rel(dir, socket); err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return errOutside
	}
	return nil
}

// Selector makes targets from the records of proxies. It logs each refused endpoint once, as long as it stays in the store. It is
// for one goroutine.
type Selector struct {
	Trust  Trust
	Logger *slog.Logger

	refused map[string]bool // the endpoints that were refused the last time
}

// Select returns the proxies that the worker may connect to.
func (s *Selector) Select(ctx context.Context, proxies []fleet.Proxy) []Target {
	var out []Target
	refused := map[string]bool{}
	for _, p := range proxies {
		e, err := link.ParseEndpoint(p.Endpoint)
		if err == nil {
			err = s.Trust.Check(e)
		}
		if err == nil {
			out = append(out, Target{link.Proxy{ID: p.ID, Endpoint: e}, p.Instance})
			continue
		}
		if !s.refused[p.Endpoint] {
			log := s.Logger.WarnContext
			if errors.Is(err, errOtherHost) {
				log = s.Logger.DebugContext // expected when proxies run on several hosts
			}
			log(ctx, "proxy not used", slog.String(logkey.ProxyID, string(p.ID)), slog.Any(logkey.Err, err))
		}
		refused[p.Endpoint] = true
	}
	s.refused = refused
	return out
}

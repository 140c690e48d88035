package visitorconn

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

// State is what the handlers of one connection know about it.
type State struct {
	// Peer is the other end: the visitor, or a trusted proxy.
	Peer netip.Addr
	// PeerText is Peer as text.
	PeerText string
	// TrustedProxy says that Peer may state who the visitor is.
	TrustedProxy bool

	guard *guardedConn // nil for HTTP/2 over TLS
	heads atomic.Int64 // the decoded size of the heads of requests in flight, in bytes
}

// Upgraded reports whether a request asked for another protocol than HTTP/1: then the guard no longer examines the
// connection, and no further request may be served on it.
func (s *State) Upgraded() bool { return s.guard != nil && s.guard.upgraded.Load() }

// Refusal is why the guard refused a request on this connection, or nil.
func (s *State) Refusal() *h1guard.RefusedError {
	if s.guard == nil {
		return nil
	}
	return s.guard.refusal.Load()
}

// TakeHead adds the decoded size of a request's head, in bytes, to what the connection has in flight. It adds nothing and
// reports false when that would exceed limit; 0 is no limit.
func (s *State) TakeHead(size, limit int) bool {
	if n := s.heads.Add(int64(size)); limit > 0 && n > int64(limit) {
		s.heads.Add(-int64(size))
		return false
	}
	return true
}

// GiveHead takes the size off again.
func (s *State) GiveHead(size int) { s.heads.Add(-int64(size)) }

type stateKey struct{}

// Context is the ConnContext of the server.
func (g *Gate) Context(ctx context.Context, c net.Conn) context.Context {
	s := &State{Peer: addrOf(c.RemoteAddr())}
	s.PeerText, s.TrustedProxy = s.Peer.String(), g.cfg.Proxies.Contain(s.Peer)
	switch c := c.(type) {
	case *guardedConn:
		s.guard = c
	case guardedTLS:
		s.guard = c.guardedConn
	case *tls.Conn: // HTTP/2
	}
	return context.WithValue(ctx, stateKey{}, s)
}

// Of is the state of the connection that a request came on. Outside a server of a gate it is an empty one.
func Of(ctx context.Context) *State {
	if s, ok := ctx.Value(stateKey{}).(*State); ok {
		return s
	}
	return new(State)
}

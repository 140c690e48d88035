package connector

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// portTries bounds the search for a port that is free for UDP and for TCP.
const portTries = 32

// listener is a socket of either protocol.
type listener struct {
	socket
	protocol tunnel.Protocol
	accept   func(ctx context.Context) (transport.Session, error)
}

type socket interface {
	Addr() netip.AddrPort
	Close() error
}

// Accept waits for a session whose handshake is complete.
func (l listener) Accept(ctx context.Context) (transport.Session, error) { return l.accept(ctx) }

// listen binds one address for QUIC and, if configured, for HTTP/2 on the same port.
func listen(addr netip.AddrPort, http2 bool, deps *Deps, g transport.Gate) ([]listener, error) {
	settings := h2.EdgeSettings()
	settings.Headers.MaxFields, settings.Headers.MaxBytes = deps.MaxHeaderFields, deps.MaxHeaderBytes
	tries := 1
	if addr.Port() == 0 && http2 {
		tries = portTries // a port that is free for UDP may be taken for TCP
	}
	var last error
	for range tries {
		q, err := quic.Listen(quic.ListenConfig{Addr: addr, TLS: deps.TLS, Settings: quic.EdgeSettings(), Gate: g})
		if err != nil {
			return nil, err
		}
		ls := []listener{{q, tunnel.QUIC, func(ctx context.Context) (transport.Session, error) { return q.Accept(ctx) }}}
		if !http2 {
			return ls, nil
		}
		h, err := h2.Listen(h2.ListenConfig{
			Addr: netip.AddrPortFrom(addr.Addr(), q.Addr().Port()), TLS: tcpTLS(deps.TLS), Settings: settings, Gate: g,
		})
		if err == nil {
			return append(ls, listener{h, tunnel.HTTP2, func(ctx context.Context) (transport.Session, error) { return h.Accept(ctx) }}), nil
		}
		last = errors.Join(err, q.Close())
	}
	return nil, last
}

// windowOf is the flow control of the edge's connections.
func windowOf(p tunnel.Protocol) registry.Window {
	if p == tunnel.HTTP2 {
		w := h2.EdgeSettings()
		return registry.Window{Conn: int64(w.ConnWindow), First: int64(w.StreamWindow), Most: int64(w.MaxStreamWindow)}
	}
	w := quic.EdgeSettings()
	return registry.Window{Conn: int64(w.ConnWindow), First: int64(w.FirstStreamWindow), Most: int64(w.StreamWindow)}
}

// tcpTLS is the TLS configuration for HTTP/2: connectors offer no protocol name there, and TLS 1.2 as well as 1.3
// (docs/spec/wire.md 3).
func tcpTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos, c.MinVersion = nil, tls.VersionTLS12
	return c
}

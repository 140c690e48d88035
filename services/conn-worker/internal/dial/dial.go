package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
)

// Config is the settings that all sessions of a worker share.
type Config struct {
	// Roots gives the certificate authorities whose edges are trusted, for each connection.
	Roots func() *x509.CertPool
	// PostQuantum refuses key exchanges that are not post-quantum.
	PostQuantum bool
	// ConnWindow and StreamWindow are the flow control limits of QUIC in bytes.
	ConnWindow, StreamWindow uint64
	// MaxStreams is how many streams the edge may have open in a QUIC session; 0 is the default of package quic.
	MaxStreams int64
	// MaxHeaderFields and MaxHeaderBytes bound the header, and the trailers, of a request over HTTP/2 (httpfield.Limits).
	MaxHeaderFields, MaxHeaderBytes int
	// DisablePMTU switches path MTU discovery off.
	DisablePMTU bool
	// LocalIP is the address to dial from; the zero value lets the system choose.
	LocalIP netip.Addr
	// Applier gets the configurations that an edge pushes over HTTP/2. Over QUIC a push is an RPC, which the relay serves.
	Applier relay.Applier
}

// DefaultWindows are the flow control limits of a QUIC connection and of its streams in bytes (docs/spec/wire.md 4).
func DefaultWindows() (conn, stream uint64) {
	s := quic.ConnectorSettings()
	return s.ConnWindow, s.StreamWindow
}

// DefaultHeaderLimits are the limits of a header or trailer section over HTTP/2 (httpfield.Limits).
func DefaultHeaderLimits() (fields, bytes int) {
	l := h2.ConnectorSettings().Headers
	return l.MaxFields, l.MaxBytes
}

func (c Config) http2() h2.Settings {
	s := h2.ConnectorSettings()
	s.Headers.MaxFields, s.Headers.MaxBytes = c.MaxHeaderFields, c.MaxHeaderBytes
	return s
}

func (c Config) quic() quic.Settings {
	s := quic.ConnectorSettings()
	if c.MaxStreams > 0 {
		s.MaxStreams = c.MaxStreams
	}
	s.ConnWindow, s.StreamWindow, s.DisablePMTU = c.ConnWindow, c.StreamWindow, c.DisablePMTU
	s.FirstConnWindow = c.ConnWindow
	return s
}

// Dialer makes sessions with one set of settings.
type Dialer struct {
	localIP     netip.Addr
	applier     relay.Applier
	roots       func() *x509.CertPool
	postQuantum bool
	quic        quic.Settings
	http2       h2.Settings

	mu    sync.Mutex
	ports map[tunnel.Slot]uint16 // guarded by mu
}

// New makes a dialer.
func New(c Config) *Dialer {
	return &Dialer{
		localIP: c.LocalIP, applier: c.Applier, ports: map[tunnel.Slot]uint16{},
		roots: c.Roots, postQuantum: c.PostQuantum, quic: c.quic(), http2: c.http2(),
	}
}

// Dial makes a session for a slot over p. Errors are *tunnel.ConnError.
func (d *Dialer) Dial(ctx context.Context, slot tunnel.Slot, edge netip.AddrPort, p tunnel.Protocol) (transport.Session, error) {
	if p == tunnel.HTTP2 {
		session, err := h2.Dial(ctx, h2.DialConfig{
			Edge: edge, LocalIP: d.localIP, TLS: h2.ClientTLS(d.roots(), d.postQuantum), Settings: d.http2,
			Applier: relay.ForTunnel{Applier: d.applier, Tunnel: slot.Tunnel},
		})
		if err != nil {
			return nil, err
		}
		return session, nil
	}
	d.mu.Lock()
	port := d.ports[slot]
	d.mu.Unlock()
	session, err := quic.Dial(ctx, quic.DialConfig{
		Edge: edge, LocalIP: d.localIP, LocalPort: port, TLS: quic.ClientTLS(d.roots(), d.postQuantum), Settings: d.quic,
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.ports[slot] = session.LocalAddr().Port()
	d.mu.Unlock()
	return session, nil
}

// Curves lists the key exchanges that a dial over p offers, the preferred one first.
func (d *Dialer) Curves(p tunnel.Protocol) []tls.CurveID {
	if p == tunnel.HTTP2 {
		return h2.ClientTLS(nil, d.postQuantum).CurvePreferences
	}
	return quic.ClientTLS(nil, d.postQuantum).CurvePreferences
}

// LocalIP is the address that packets to edge leave from: the session's own, or, when its socket is bound to all
// addresses, the one that the system's routes choose. No packet is sent. The zero value means that it is not known.
func (*Dialer) LocalIP(ctx context.Context, s transport.Session) netip.Addr {
	if ip := s.LocalAddr().Addr(); ip.IsValid() && !ip.IsUnspecified() {
		return ip
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "udp", s.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = c.Close() }() // nothing was written
	u, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}
	}
	return u.AddrPort().Addr().Unmap()
}

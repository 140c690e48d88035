package dial

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
)

// Config is what all sessions of a worker share.
type Config struct {
	// QUICTLS and HTTP2TLS are the TLS configurations of the two protocols.
	QUICTLS, HTTP2TLS *tls.Config
	QUIC              quic.Settings
	HTTP2             h2.Settings
	// LocalIP is the address to dial from; the zero value lets the system choose.
	LocalIP netip.Addr
	// Applier puts configurations in force that an edge pushes over HTTP/2. Over QUIC a push is an RPC, which the relay serves.
	Applier relay.Applier
}

// Dialer makes sessions with one set of settings.
type Dialer struct {
	cfg Config

	mu    sync.Mutex
	ports map[tunnel.Slot]uint16 // guarded by mu
}

// New makes a dialer.
func New(cfg Config) *Dialer { return &Dialer{cfg: cfg, ports: map[tunnel.Slot]uint16{}} }

// Dial makes a session for a slot over p. Errors are *tunnel.ConnError.
func (d *Dialer) Dial(ctx context.Context, slot tunnel.Slot, edge netip.AddrPort, p tunnel.Protocol) (transport.Session, error) {
	if p == tunnel.HTTP2 {
		session, err := h2.Dial(ctx, h2.DialConfig{
			Edge: edge, LocalIP: d.cfg.LocalIP, TLS: d.cfg.HTTP2TLS, Settings: d.cfg.HTTP2,
			Applier: relay.ForTunnel{Applier: d.cfg.Applier, Tunnel: slot.Tunnel},
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
		Edge: edge, LocalIP: d.cfg.LocalIP, LocalPort: port, TLS: d.cfg.QUICTLS, Settings: d.cfg.QUIC,
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.ports[slot] = session.LocalAddr().Port()
	d.mu.Unlock()
	return session, nil
}

// LocalIP is the address that packets to edge leave from: the session's own, or, when its socket is bound to all
// addresses, the one that the system's routes choose. No packet is sent. The zero value means that it is not known.
func LocalIP(ctx context.Context, s transport.Session) netip.Addr {
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

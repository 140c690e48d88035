package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var errNoHTTP2 = errors.New("http2 is not supported yet")

// Dialer makes sessions with one set of settings.
type Dialer struct {
	tls      *tls.Config
	settings quic.Settings
	localIP  netip.Addr

	mu    sync.Mutex
	ports map[tunnel.Slot]uint16 // guarded by mu
}

// New makes a dialer. localIP is the address to dial from; the zero value lets the system choose.
func New(conf *tls.Config, s quic.Settings, localIP netip.Addr) *Dialer {
	return &Dialer{tls: conf, settings: s, localIP: localIP, ports: map[tunnel.Slot]uint16{}}
}

// Dial makes a session for a slot over p. Errors are *tunnel.ConnError.
func (d *Dialer) Dial(ctx context.Context, slot tunnel.Slot, edge netip.AddrPort, p tunnel.Protocol) (transport.Session, error) {
	if p == tunnel.HTTP2 {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonDial, Err: errNoHTTP2}
	}
	d.mu.Lock()
	port := d.ports[slot]
	d.mu.Unlock()
	session, err := quic.Dial(ctx, quic.DialConfig{
		Edge: edge, LocalIP: d.localIP, LocalPort: port, TLS: d.tls, Settings: d.settings,
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

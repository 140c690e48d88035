package dialer

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Dialer opens sockets for destinations.
type Dialer interface {
	DialTCP(ctx context.Context, dst netip.AddrPort) (net.Conn, error)
	// DialUDP gives a connected socket.
	DialUDP(ctx context.Context, dst netip.AddrPort) (net.Conn, error)
}

// Registry dials for private-network flows.
type Registry struct {
	settings func(tunnel.ID) ingress.WarpRouting
	point    *Point

	mu       sync.RWMutex
	reserved map[netip.AddrPort]Dialer
}

// New makes a registry that dials through point. It asks for the settings of a flow's tunnel at each dial.
func New(settings func(tunnel.ID) ingress.WarpRouting, point *Point) *Registry {
	return &Registry{settings: settings, point: point.ForVisitors(), reserved: make(map[netip.AddrPort]Dialer)}
}

// Reserve makes d dial addr in place of the network and of the ip rules. A nil Dialer ends that.
func (r *Registry) Reserve(addr netip.AddrPort, d Dialer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d == nil {
		delete(r.reserved, plain(addr))
		return
	}
	r.reserved[plain(addr)] = d
}

// DialTCP connects to dst for a flow of a tunnel.
func (r *Registry) DialTCP(ctx context.Context, id tunnel.ID, dst netip.AddrPort) (net.Conn, error) {
	if d := r.lookup(dst); d != nil {
		return d.DialTCP(ctx, dst)
	}
	return r.dial(ctx, id, "tcp", dst)
}

// DialUDP opens a socket that is connected to dst for a flow of a tunnel.
func (r *Registry) DialUDP(ctx context.Context, id tunnel.ID, dst netip.AddrPort) (net.Conn, error) {
	if d := r.lookup(dst); d != nil {
		return d.DialUDP(ctx, dst)
	}
	return r.dial(ctx, id, "udp", dst)
}

func (r *Registry) lookup(dst netip.AddrPort) Dialer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.reserved[plain(dst)]
}

func (r *Registry) dial(ctx context.Context, id tunnel.ID, network string, dst netip.AddrPort) (net.Conn, error) {
	set := r.settings(id)
	if err := ingress.Allow(set.IPRules, dst); err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: set.ConnectTimeout, KeepAlive: set.TCPKeepAlive}
	return r.point.Dial(ctx, d, network, plain(dst).String())
}

func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

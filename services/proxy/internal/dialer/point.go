package dialer

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// Point opens every connection of a proxy to what a rule, a request or a datagram names, as far as the local policy allows, and never to
// the private listeners of this process. A nil Point allows everything.
type Point struct {
	policy *policy.Policy
	own    own
	// chosen says that visitors choose the destinations.
	chosen bool
}

// NewPoint makes a Point that asks a policy. listeners are the private ones of this process.
func NewPoint(p *policy.Policy, listeners ...net.Addr) *Point {
	return &Point{policy: p, own: newOwn(listeners)}
}

// ForVisitors is the same Point for destinations that visitors choose: bastions, SOCKS, private networks.
func (p *Point) ForVisitors() *Point {
	if p == nil {
		return nil
	}
	q := *p
	q.chosen = true
	return &q
}

// Dial is d.DialContext under the policy. A host name is judged before it is looked up, an address right before the connection to it
// begins, so no second response of a name server can lead elsewhere. The errors of the policy wrap policy.ErrDenied.
func (p *Point) Dial(ctx context.Context, d net.Dialer, network, address string) (net.Conn, error) {
	if p == nil {
		return d.DialContext(ctx, network, address)
	}
	if network == "unix" {
		err := p.policy.Unix(address)
		if err == nil {
			err = p.own.socket(address)
		}
		if err != nil {
			return nil, refused(network, err)
		}
		return d.DialContext(ctx, network, address)
	}
	if p.policy == nil && !p.chosen {
		return d.DialContext(ctx, network, address)
	}
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		err = p.policy.Host(host)
	}
	if err != nil {
		return nil, refused(network, err)
	}
	d.ControlContext = p.control
	return d.DialContext(ctx, network, address)
}

// control judges the resolved address of a socket that is about to be connected.
func (p *Point) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if strings.HasPrefix(address, ":") { // no host is this one
		address = net.JoinHostPort(loopback(network), address[1:])
	}
	dst, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if err := p.policy.Addr(dst.Addr()); err != nil || !p.chosen || !strings.HasPrefix(network, "tcp") {
		return err
	}
	return p.own.addr(dst)
}

func loopback(network string) string {
	if strings.HasSuffix(network, "6") {
		return "::1"
	}
	return "127.0.0.1"
}

// refused is the form that the errors of net.Dialer have.
func refused(network string, err error) error {
	return &net.OpError{Op: "dial", Net: network, Err: err}
}

// Host judges a host before it is looked up.
func (p *Point) Host(host string) error {
	if p == nil {
		return nil
	}
	return p.policy.Host(host)
}

// Addr judges the destination of packets that need no connection.
func (p *Point) Addr(addr netip.Addr) error {
	if p == nil {
		return nil
	}
	return p.policy.Addr(addr)
}

// Proxied reports whether connections may go through an HTTP proxy of the environment. That would choose the address, so it is not
// allowed if the policy limits networks or hosts.
func (p *Point) Proxied() bool { return p == nil || !p.policy.LimitsNetwork() }

// Serve judges a directory, or a file, that a rule gives to visitors.
func (p *Point) Serve(name string, dir, pushed bool) error {
	if p == nil {
		return (*policy.Policy)(nil).Serve(name, dir, pushed)
	}
	return p.policy.Serve(name, dir, pushed)
}

// File judges a file that a rule names.
func (p *Point) File(name string) error {
	if p == nil {
		return nil
	}
	return p.policy.File(name)
}

package origin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
)

// ErrNoDestination says that the client of a bastion named no destination.
//
//nolint:staticcheck // the reference's text
var ErrNoDestination = errors.New(
	"Did not receive final destination from client. The --destination flag is likely not set on the client side")

// Stream opens the byte stream of a tcp-like service (docs/spec/ingress.md 8.3 to 8.5).
type Stream struct {
	// Kind is KindStream, KindBastion or KindSocks.
	Kind ingress.Kind
	// Socks says that the client of a fixed destination speaks SOCKS5 all the same (proxyType).
	Socks bool
	// ProxyProtocol is the header that comes before the client's bytes.
	ProxyProtocol proxyproto.Version

	addr   string // of a fixed destination
	dialer net.Dialer
	net    Network
	rules  []ingress.IPRule
	judges bool // the client goes only where rules let it
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Network opens connections as far as the local policy allows; *dialer.Point is one.
type Network interface {
	// Host judges a host before it is looked up.
	Host(host string) error
	// Dial opens a connection with the settings of d.
	Dial(ctx context.Context, d net.Dialer, network, address string) (net.Conn, error)
}

// NewStream makes the stream of a service with its effective settings, whose connections network opens.
func NewStream(svc ingress.Service, set ingress.OriginRequest, network Network) *Stream {
	s := &Stream{
		Kind:          svc.Kind,
		Socks:         svc.Kind != ingress.KindSocks && set.ProxyType != "",
		ProxyProtocol: set.ProxyProtocol,
		dialer:        net.Dialer{KeepAlive: set.TCPKeepAlive},
		net:           network,
		lookup:        net.DefaultResolver.LookupNetIP,
	}
	s.dialer.Timeout = set.ConnectTimeout
	if set.NoHappyEyeballs {
		s.dialer.FallbackDelay = -1
	}
	switch {
	case svc.Kind == ingress.KindStream:
		s.addr = svc.URL.Host
	case svc.Kind == ingress.KindSocks, len(set.IPRules) > 0: // a bastion without rules reaches everything (docs/spec/ingress.md D30)
		s.rules, s.judges = set.IPRules, true
	}
	return s
}

// Destination is where a request leads: the service's own address, or what the header of a bastion's client says. It is
// empty for a SOCKS service, whose client says it later.
func (s *Stream) Destination(header string) (string, error) {
	if s.Kind != ingress.KindBastion {
		return s.addr, nil
	}
	return BastionDestination(header)
}

// BastionDestination reads the value of Cf-Access-Jump-Destination: the host of a URL, else what comes before a slash.
func BastionDestination(header string) (string, error) {
	if header == "" {
		return "", ErrNoDestination
	}
	if u, err := url.Parse(header); err == nil && u.Host != "" {
		return u.Host, nil
	}
	host, _, _ := strings.Cut(header, "/")
	return host, nil
}

// Dial connects to a destination, host and port, if the policy allows it. A name is looked up first where a policy has to
// decide, and the first address is the one that is judged and dialled, so that no second response can lead elsewhere.
func (s *Stream) Dial(ctx context.Context, destination string) (net.Conn, error) {
	if !s.judges {
		return s.net.Dial(ctx, s.dialer, "tcp", destination)
	}
	if len(s.rules) == 0 {
		return nil, fmt.Errorf("%w: there are none", ingress.ErrDenied)
	}
	if s.dialer.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.dialer.Timeout) // the look-up counts, too
		defer cancel()
	}
	dst, err := s.resolve(ctx, destination)
	if err != nil {
		return nil, err
	}
	if err := ingress.Allow(s.rules, dst); err != nil {
		return nil, err
	}
	return s.net.Dial(ctx, s.dialer, "tcp", dst.String())
}

// resolve gives the one address of a destination.
func (s *Stream) resolve(ctx context.Context, destination string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(destination)
	if err != nil {
		return netip.AddrPort{}, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, &net.OpError{Op: "dial", Net: "tcp", Err: &net.AddrError{Err: "invalid port", Addr: destination}}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
	}
	if err := s.net.Host(host); err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := s.lookup(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("look up destination: %w", err)
	}
	if len(addrs) == 0 {
		return netip.AddrPort{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(port)), nil
}

// Announce writes the PROXY protocol header to a new connection, if one is configured: the address of the client, which may
// be unknown, and the remote address of the connection.
func Announce(c net.Conn, v proxyproto.Version, client netip.AddrPort) error {
	if v == proxyproto.None {
		return nil
	}
	h := proxyproto.Header{Source: client}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		h.Destination = a.AddrPort()
	}
	_, err := c.Write(h.Append(nil, v))
	return err
}

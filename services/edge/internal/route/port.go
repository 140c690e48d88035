package route

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Network is the protocol of a public port.
type Network string

// The networks of public ports.
const (
	TCP Network = "tcp"
	UDP Network = "udp"
)

// ProxyProtocol is the version of the PROXY protocol header that precedes a connection's bytes.
type ProxyProtocol string

// The versions that exist. The zero value is none.
const (
	NoProxyProtocol ProxyProtocol = ""
	ProxyProtocolV1 ProxyProtocol = "v1"
	ProxyProtocolV2 ProxyProtocol = "v2"
)

// ErrPort says that a public port is not well formed.
var ErrPort = errors.New("malformed port route")

// Port is a public port: where it listens, and where its traffic goes in a tunnel.
type Port struct {
	Network Network
	// Addr is the zero value for the default address of the edge.
	Addr netip.Addr
	// Number is 0 for any free port, until it is bound.
	Number uint16
	Target Target
}

// Target is where a port's traffic goes: an address of the tunnel's private network, or (TCP alone) the service of an
// ingress rule, which is reached as a websocket.
type Target struct {
	To            netip.AddrPort
	Host          string
	ProxyProtocol ProxyProtocol
	// Idle ends a connection or association that carried nothing for so long; 0 is the edge's setting.
	Idle time.Duration
}

// IsPort reports whether the name of a route is that of a port rather than a host.
func IsPort(name string) bool { return strings.Contains(name, "://") }

// ParsePort reads the name of a port: "tcp://:2222", "udp://192.0.2.1:5353", "tcp://[2001:db8::1]:22".
func ParsePort(name string) (Port, error) {
	network, rest, _ := strings.Cut(strings.TrimSpace(name), "://")
	p := Port{Network: Network(strings.ToLower(network))}
	if p.Network != TCP && p.Network != UDP {
		return Port{}, fmt.Errorf("%w: %q is neither tcp://[ADDRESS]:PORT nor udp://[ADDRESS]:PORT", ErrPort, name)
	}
	rest = strings.TrimSuffix(rest, "/")
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return Port{}, fmt.Errorf("%w: %q names no port", ErrPort, name)
	}
	n, err := strconv.ParseUint(rest[i+1:], 10, 16)
	if err != nil {
		return Port{}, fmt.Errorf("%w: %q: the port is no number from 0 to 65535", ErrPort, name)
	}
	p.Number = uint16(n)
	if host := rest[:i]; host != "" && host != "*" {
		a, err := netip.ParseAddrPort(rest)
		if err != nil {
			return Port{}, fmt.Errorf("%w: %q: %q is no IP address (IPv6 in brackets)", ErrPort, name, host)
		}
		if a.Addr().Zone() != "" {
			return Port{}, fmt.Errorf("%w: %q: an address with a zone is of this host alone", ErrPort, name)
		}
		p.Addr = a.Addr().Unmap()
	}
	return p, nil
}

// Name is the canonical name of the port: "tcp://:2222" if it has no address.
func (p Port) Name() string {
	if !p.Addr.IsValid() {
		return string(p.Network) + "://:" + strconv.Itoa(int(p.Number))
	}
	return string(p.Network) + "://" + netip.AddrPortFrom(p.Addr, p.Number).String()
}

// Validate reports every fault of a port and its target; it also makes the target canonical.
func (p *Port) Validate() error {
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrPort}, args...)...))
	}
	t := &p.Target
	switch {
	case t.To.IsValid() && t.Host != "":
		bad("%s: --to and --host exclude each other", p.Name())
	case !t.To.IsValid() && t.Host == "":
		bad("%s: no target: --to IP:PORT of the tunnel's private network, or --host NAME of an ingress rule", p.Name())
	case t.Host != "":
		p.validateHost(bad)
	case t.To.Port() == 0:
		bad("%s: --to %s: port 0 is no destination", p.Name(), t.To)
	case t.To.Addr().IsUnspecified() || t.To.Addr().IsMulticast() || t.To.Addr().Zone() != "":
		bad("%s: --to %s: not the address of one host", p.Name(), t.To)
	default:
		t.To = netip.AddrPortFrom(t.To.Addr().Unmap(), t.To.Port())
	}
	switch t.ProxyProtocol {
	case NoProxyProtocol:
	case ProxyProtocolV1, ProxyProtocolV2:
		if p.Network == UDP {
			bad("%s: --proxy-protocol is for tcp", p.Name())
		}
	default:
		bad("%s: --proxy-protocol %q is neither v1 nor v2", p.Name(), t.ProxyProtocol)
	}
	if t.Idle < 0 {
		bad("%s: --idle %v is negative", p.Name(), t.Idle)
	}
	return errors.Join(faults...)
}

func (p *Port) validateHost(bad func(format string, args ...any)) {
	if p.Network == UDP {
		bad("%s: --host is for tcp; udp goes to an address, --to IP:PORT", p.Name())
		return
	}
	host, err := Canonical(p.Target.Host)
	if err != nil || strings.ContainsAny(p.Target.Host, "/?#@*") {
		bad("%s: --host %q is no host name", p.Name(), p.Target.Host)
		return
	}
	p.Target.Host = host
}

// ParseBootstrap reads a port with its target in one text, as configurations give it:
// "tcp://:2222?to=10.0.0.5:22&proxy_protocol=v2", "tcp://:2222?host=ssh.example.com", "udp://:5353?to=10.0.0.53:53".
func ParseBootstrap(text string) (Port, error) {
	name, query, _ := strings.Cut(text, "?")
	p, err := ParsePort(name)
	if err != nil {
		return Port{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Port{}, fmt.Errorf("%w: %q: %w", ErrPort, text, err)
	}
	for key, val := range values {
		v := val[len(val)-1]
		switch key {
		case "to":
			if p.Target.To, err = netip.ParseAddrPort(v); err != nil {
				return Port{}, fmt.Errorf("%w: %q: to: %q is not IP:PORT", ErrPort, text, v)
			}
		case "host":
			p.Target.Host = v
		case "proxy_protocol":
			p.Target.ProxyProtocol = ProxyProtocol(v)
		case "idle":
			if p.Target.Idle, err = time.ParseDuration(v); err != nil {
				return Port{}, fmt.Errorf("%w: %q: idle: %q is not a duration such as 10m", ErrPort, text, v)
			}
		default:
			return Port{}, fmt.Errorf("%w: %q: %q is none of to, host, proxy_protocol, idle", ErrPort, text, key)
		}
	}
	return p, p.Validate()
}

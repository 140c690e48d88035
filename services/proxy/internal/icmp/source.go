package icmp

import (
	"net"
	"net/netip"
)

// probe is an address for which the system chooses a route; nothing is sent to it.
const probe = "192.168.0.1:53"

// sources gives the addresses that stand for this host: the configured ones, or what the routes and interfaces suggest, or
// the unspecified ones. zone is the interface with v6 when it was found.
func sources(cfg Config) (v4, v6 netip.Addr, zone string) {
	v4, v6 = netip.IPv4Unspecified(), netip.IPv6Unspecified()
	if a, err := netip.ParseAddr(cfg.SourceV4); err == nil {
		v4 = a
	} else if a, ok := routed(); ok {
		v4 = a
	}
	if a, err := netip.ParseAddr(cfg.SourceV6); err == nil {
		v6 = a.WithZone("")
	} else if a, name := beside(v4); a.IsValid() {
		v6, zone = a, name
	}
	return v4, v6, zone
}

// routed gives the local address of the default route.
func routed() (netip.Addr, bool) {
	c, err := net.Dial("udp4", probe) //nolint:noctx // it waits for nothing
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close() //nolint:errcheck // nothing was sent
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	return a.Addr().Unmap(), err == nil
}

// beside gives an IPv6 address of the interface that has v4, or of any other.
func beside(v4 netip.Addr) (a netip.Addr, zone string) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, ""
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		six, here := pick(addrs, v4)
		if six.IsValid() && here {
			return six, i.Name
		}
		if six.IsValid() && !a.IsValid() {
			a, zone = six, i.Name
		}
	}
	return a, zone
}

// pick gives the first IPv6 address that others can reach, and whether v4 is among the addresses.
func pick(addrs []net.Addr, v4 netip.Addr) (six netip.Addr, here bool) {
	for _, addr := range addrs {
		p, err := netip.ParsePrefix(addr.String())
		if err != nil {
			continue
		}
		a := p.Addr()
		here = here || a == v4
		if a.Is6() && a.IsGlobalUnicast() && !six.IsValid() {
			six = a
		}
	}
	return six, here
}

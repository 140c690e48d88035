package edge

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/zone"
)

// zoneContent is what the name server says: the configured regions, or two that are derived from the listeners.
func zoneContent(c DNSConfig, listeners []netip.AddrPort, local func() ([]net.Addr, error)) (zone.Content, error) {
	out := zone.Content{
		Domain: c.Domain, TTL: c.TTL, ProtocolTXT: c.ProtocolTXT, FeatureTXT: c.FeatureTXT,
		Serial: uint32(time.Now().Unix()), // serial numbers wrap
	}
	for _, r := range c.Regions {
		out.Regions = append(out.Regions, zone.Region(r))
	}
	hosts, err := hostAddrs(local)
	if err != nil {
		return zone.Content{}, err
	}
	if len(out.Regions) == 0 {
		out.Regions = deriveRegions(listeners, hosts)
	}
	if len(out.Regions) == 0 {
		return zone.Content{}, fmt.Errorf("dns: regions: empty, and this host has no address to advertise")
	}
	if out.Self = c.Listen.Addr().Unmap(); out.Self.IsUnspecified() {
		out.Self = netip.Addr{}
		if len(hosts) > 0 {
			out.Self = hosts[0]
		}
	}
	return out, nil
}

// deriveRegions deals the listeners to two regions in turn. With one listener its addresses are dealt, and a single
// address is in both: connectors need two regions to start (docs/spec/wire.md 2.1).
func deriveRegions(listeners []netip.AddrPort, hosts []netip.Addr) []zone.Region {
	var parts [2][]netip.AddrPort
	var all []netip.AddrPort
	for i, l := range listeners {
		addrs := reachable(l, hosts)
		all = append(all, addrs...)
		parts[i%2] = append(parts[i%2], addrs...)
	}
	if len(all) == 0 {
		return nil
	}
	if len(listeners) == 1 {
		parts = [2][]netip.AddrPort{}
		for i, a := range all {
			parts[i%2] = append(parts[i%2], a)
		}
	}
	if len(parts[1]) == 0 {
		parts[1] = parts[0]
	}
	return []zone.Region{{Name: "region1", Addresses: parts[0]}, {Name: "region2", Addresses: parts[1]}}
}

// reachable are the addresses on which others reach a listener.
func reachable(l netip.AddrPort, hosts []netip.Addr) []netip.AddrPort {
	if !l.Addr().IsUnspecified() {
		return []netip.AddrPort{l}
	}
	var out []netip.AddrPort
	for _, h := range hosts {
		if h.Is4() || l.Addr().Is6() {
			out = append(out, netip.AddrPortFrom(h, l.Port()))
		}
	}
	return out
}

// hostAddrs are this host's addresses that others can use, or its loopback addresses when there are none.
func hostAddrs(local func() ([]net.Addr, error)) ([]netip.Addr, error) {
	addrs, err := local()
	if err != nil {
		return nil, fmt.Errorf("addresses of this host: %w", err)
	}
	var global, loopback []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := p.Addr().Unmap(); {
		case ip.IsLoopback():
			loopback = append(loopback, ip)
		case ip.IsGlobalUnicast():
			global = append(global, ip)
		}
	}
	if len(global) == 0 {
		global = loopback
	}
	slices.SortStableFunc(global, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return global, nil
}

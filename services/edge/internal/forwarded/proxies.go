package forwarded

import (
	"fmt"
	"net/netip"
)

// Proxies are the networks of trusted proxies. The zero value trusts no proxy.
type Proxies []netip.Prefix

// ParseProxies reads networks as CIDR, or single addresses.
func ParseProxies(texts []string) (Proxies, error) {
	var out Proxies
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil || a.Zone() != "" {
				return nil, fmt.Errorf("%q is neither a network such as 10.0.0.0/8 nor an address", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, fmt.Errorf("%q mixes IPv4 and IPv6", text)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Contain reports whether an address is one of a trusted proxy.
func (p Proxies) Contain(a netip.Addr) bool {
	if len(p) == 0 {
		return false
	}
	a = a.Unmap().WithZone("")
	for i := range p {
		if p[i].Contains(a) {
			return true
		}
	}
	return false
}

package edgepool

import (
	"fmt"
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Family says which IP versions may be used.
type Family uint8

// The families of --edge-ip-version.
const (
	Any Family = iota // both; each region prefers the one that its resolver gave first
	V4
	V6
)

// ParseFamily accepts exactly "auto", "4" and "6".
func ParseFamily(s string) (Family, error) {
	for _, f := range []Family{Any, V4, V6} {
		if s == f.String() {
			return f, nil
		}
	}
	return Any, fmt.Errorf("IP version %q is none of auto, 4, 6", s)
}

// FamilyOf is the family of one address: a socket bound to it can reach no other.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Unmap().Is4():
		return V4
	case a.Is6():
		return V6
	default:
		return Any
	}
}

// String is the flag's value.
func (f Family) String() string {
	switch f {
	case V4:
		return "4"
	case V6:
		return "6"
	default:
		return "auto"
	}
}

// Addresses lists the pool's addresses of a family, by region, each region's preferred family first.
func (p Pool) Addresses(f Family) []tunnel.EdgeAddr {
	candidates := p.candidates(f)
	all := make([]tunnel.EdgeAddr, len(candidates))
	for i, c := range candidates {
		all[i] = c.addr
	}
	return all
}

// Count is the number of the pool's addresses of a family.
func (p Pool) Count(f Family) int { return len(p.candidates(f)) }

func (p Pool) candidates(f Family) []candidate {
	var all []candidate
	for _, r := range p.Regions {
		for _, a := range r.addresses() {
			is4 := a.Addr().Unmap().Is4()
			if f == V4 && !is4 || f == V6 && is4 {
				continue
			}
			rank := 0
			if len(r.V4) > 0 && len(r.V6) > 0 && is4 == r.PreferV6 {
				rank = 1
			}
			all = append(all, candidate{addr: tunnel.EdgeAddr{Addr: a, Region: r.Name}, rank: rank})
		}
	}
	return all
}

// Cap is how many connections to make of the requested number: as many as there are addresses. Spare says whether an address stays free,
// to which a slot could move before it leaves its own. That is better, and no reason for fewer connections (docs/spec/lifecycle.md 2.1).
func Cap(requested, available int) (connections int, spare bool) {
	connections = max(0, min(requested, available))
	return connections, available > connections
}

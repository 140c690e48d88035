package edgepool

import (
	"net/netip"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The names of the regions of a static list.
const (
	StaticRegion1 tunnel.Region = "region1"
	StaticRegion2 tunnel.Region = "region2"
)

// NewRegion splits the addresses of a resolver's response by family and keeps its order. Repetitions are dropped, and IPv4 addresses in
// IPv6 form become plain ones.
func NewRegion(name tunnel.Region, addrs []netip.AddrPort) RegionPool {
	r := RegionPool{Name: name}
	for i, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		v6 := a.Addr().Is6()
		if i == 0 {
			r.PreferV6 = v6
		}
		switch {
		case v6 && !slices.Contains(r.V6, a):
			r.V6 = append(r.V6, a)
		case !v6 && !slices.Contains(r.V4, a):
			r.V4 = append(r.V4, a)
		}
	}
	return r
}

// Static makes the regions of a list that an operator gave: addresses alternate between two regions (docs/spec/lifecycle.md
// 6.2). Repetitions are dropped first, so that they do not shift the rest.
func Static(addrs []netip.AddrPort) []RegionPool {
	var halves [2][]netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if seen[a] {
			continue
		}
		halves[len(seen)%2] = append(halves[len(seen)%2], a)
		seen[a] = true
	}
	return []RegionPool{NewRegion(StaticRegion1, halves[0]), NewRegion(StaticRegion2, halves[1])}
}

// Distinct drops from each region what an earlier region has already: an address belongs to one region.
func Distinct(regions []RegionPool) []RegionPool {
	seen := map[netip.AddrPort]bool{}
	keep := func(addrs []netip.AddrPort) []netip.AddrPort {
		var kept []netip.AddrPort
		for _, a := range addrs {
			if !seen[a] {
				seen[a] = true
				kept = append(kept, a)
			}
		}
		return kept
	}
	out := make([]RegionPool, len(regions))
	for i, r := range regions {
		r.V4, r.V6 = keep(r.V4), keep(r.V6)
		out[i] = r
	}
	return out
}

// Same reports whether two pools lead to the same decisions: all is equal but the version, the source and the time.
func Same(a, b Pool) bool {
	return a.ProtocolTXT == b.ProtocolTXT && a.FeatureTXT == b.FeatureTXT &&
		slices.EqualFunc(a.Regions, b.Regions, func(x, y RegionPool) bool {
			return x.Name == y.Name && x.PreferV6 == y.PreferV6 && slices.Equal(x.V4, y.V4) && slices.Equal(x.V6, y.V6)
		})
}

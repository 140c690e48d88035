package reconcile

import (
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// addresses lists what a pool has for an IP version ("4", "6", or both), in its order.
func addresses(p edgepool.Pool, version string) []tunnel.EdgeAddr {
	var out []tunnel.EdgeAddr
	for _, r := range p.Regions {
		if version != "6" {
			for _, a := range r.V4 {
				out = append(out, tunnel.EdgeAddr{Addr: a, Region: r.Name})
			}
		}
		if version != "4" {
			for _, a := range r.V6 {
				out = append(out, tunnel.EdgeAddr{Addr: a, Region: r.Name})
			}
		}
	}
	return out
}

// pick takes an address that is neither used nor avoided, from the region with the most of them.
func pick(usable, used []tunnel.EdgeAddr, avoid ...tunnel.EdgeAddr) (tunnel.EdgeAddr, bool) {
	free := map[tunnel.Region]int{}
	var list []tunnel.EdgeAddr
	for _, a := range usable {
		if !slices.Contains(used, a) {
			free[a.Region]++
			if !slices.Contains(avoid, a) {
				list = append(list, a)
			}
		}
	}
	best := -1
	for i, a := range list {
		if best < 0 || free[a.Region] > free[list[best].Region] {
			best = i
		}
	}
	if best < 0 {
		return tunnel.EdgeAddr{}, false
	}
	return list[best], true
}

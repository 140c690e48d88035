package edgepool

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Random returns a uniform number in [0, n); rand.IntN and (*rand.Rand).IntN of math/rand/v2 are ones. n is positive.
type Random func(n int) int

// Table is what an allocation looks at: one connector's view of a pool. Nothing in it is changed.
type Table struct {
	Pool   Pool
	Family Family
	// Used says which address each slot of the connector has; all slots that are live or about to be.
	Used map[tunnel.ConnIndex]tunnel.EdgeAddr
	// Health is what is known of the addresses; nil is all well.
	Health Health
}

// Request describes the slot that needs an address.
type Request struct {
	Index tunnel.ConnIndex
	// Sticky is the address that the slot had; it keeps it while that is well, free and in the pool. The zero address
	// means that the slot had none.
	Sticky tunnel.EdgeAddr
	// Avoid is an address that was just given back, or that must be left (make before break). The zero address means none.
	Avoid tunnel.EdgeAddr
}

// Allocate chooses the address for a slot. No address that another slot uses is ever chosen (docs/design.md, invariant I2).
//
// In this order: a well address before a held-down one; a region that is not in doubt; the region that the connector uses least, then the
// one with more addresses free; the region's preferred family; any of the rest by chance. Of held-down addresses the one whose hold
// ends first wins, and Avoid is chosen only if nothing else is left: a slot is rather tried on a doubtful address, after
// its backoff, than not served. tunnel.ErrNoAddress means that every address of the family is used by another slot, or
// that there is none.
//
// Unlike the reference (docs/spec/lifecycle.md 6.4) the choice depends on nothing but the arguments, and regions are balanced
// by what the connector uses, not by what is left of them, so regions of unequal size are still used equally.
func Allocate(now time.Time, t Table, r Request, random Random) (tunnel.EdgeAddr, error) {
	free := t.free(r.Index)
	if a, found := find(free, r.Sticky); found && a.addr.Addr != r.Avoid.Addr && !t.Health.Held(a.addr.Addr, now) {
		return a.addr, nil
	}
	var well, held []candidate
	var avoided *candidate
	for _, c := range free {
		switch {
		case c.addr.Addr == r.Avoid.Addr:
			avoided = &c
		case t.Health.Held(c.addr.Addr, now):
			held = append(held, c)
		default:
			well = append(well, c)
		}
	}
	switch {
	case len(well) > 0:
		return t.choose(now, well, r.Index, random), nil
	case len(held) > 0:
		return t.firstReleased(held), nil
	case avoided != nil:
		return avoided.addr, nil
	default:
		return tunnel.EdgeAddr{}, fmt.Errorf("slot %d, family %v, %d in the pool: %w",
			r.Index, t.Family, t.Pool.Count(t.Family), tunnel.ErrNoAddress)
	}
}

// candidate is a free address; rank is 0 for its region's preferred family and 1 for the other.
type candidate struct {
	addr tunnel.EdgeAddr
	rank int
}

// free lists the addresses that no other slot uses, in the pool's order.
func (t Table) free(index tunnel.ConnIndex) []candidate {
	used := map[netip.AddrPort]bool{}
	for other, a := range t.Used {
		if other != index {
			used[a.Addr] = true
		}
	}
	var free []candidate
	for _, c := range t.Pool.candidates(t.Family) {
		if !used[c.addr.Addr] {
			free = append(free, c)
		}
	}
	return free
}

func find(candidates []candidate, a tunnel.EdgeAddr) (candidate, bool) {
	if a.IsZero() {
		return candidate{}, false
	}
	for _, c := range candidates {
		if c.addr.Addr == a.Addr {
			return c, true
		}
	}
	return candidate{}, false
}

// choose picks the region, then the family, then one address by chance.
func (t Table) choose(now time.Time, free []candidate, index tunnel.ConnIndex, random Random) tunnel.EdgeAddr {
	load := map[tunnel.Region]int{}
	for other, a := range t.Used {
		if other != index {
			load[a.Region]++
		}
	}
	free = t.certain(now, free, index)
	room := map[tunnel.Region]int{}
	for _, c := range free {
		room[c.addr.Region]++
	}
	// The regions in the pool's order, so that chance alone decides between equals.
	var best []tunnel.Region
	for _, region := range t.Pool.Regions {
		name := region.Name
		if room[name] == 0 {
			continue
		}
		if len(best) > 0 {
			switch {
			case load[name] > load[best[0]], load[name] == load[best[0]] && room[name] < room[best[0]]:
				continue
			case load[name] < load[best[0]], room[name] > room[best[0]]:
				best = best[:0]
			}
		}
		best = append(best, name)
	}
	region := best[pick(len(best), random)]
	var chosen []candidate
	for _, c := range free {
		if c.addr.Region != region || len(chosen) > 0 && c.rank > chosen[0].rank {
			continue
		}
		if len(chosen) > 0 && c.rank < chosen[0].rank {
			chosen = chosen[:0]
		}
		chosen = append(chosen, c)
	}
	return chosen[pick(len(chosen), random)].addr
}

// regionDoubt is how many addresses of a region are held down when the whole region comes into doubt, unless a slot uses a well one of it.
const regionDoubt = 2

// certain drops the candidates in regions that are in doubt, unless all are: with a whole region away, its addresses need not be tried one
// after the other.
func (t Table) certain(now time.Time, free []candidate, index tunnel.ConnIndex) []candidate {
	held, well := map[tunnel.Region]int{}, map[tunnel.Region]bool{}
	for _, c := range t.Pool.candidates(t.Family) {
		if t.Health.Held(c.addr.Addr, now) {
			held[c.addr.Region]++
		}
	}
	for other, a := range t.Used {
		if other != index && !t.Health.Held(a.Addr, now) {
			well[a.Region] = true
		}
	}
	var sure []candidate
	for _, c := range free {
		if held[c.addr.Region] < regionDoubt || well[c.addr.Region] {
			sure = append(sure, c)
		}
	}
	if len(sure) == 0 {
		return free
	}
	return sure
}

func (t Table) firstReleased(held []candidate) tunnel.EdgeAddr {
	first := held[0]
	for _, c := range held[1:] {
		if t.Health[c.addr.Addr].HeldUntil.Before(t.Health[first.addr.Addr].HeldUntil) {
			first = c
		}
	}
	return first.addr
}

func pick(n int, random Random) int {
	if n == 1 {
		return 0
	}
	return random(n)
}

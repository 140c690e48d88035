package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Roster remembers the proxies of a deployment through outages of the store. A registration runs out while the store is
// away although its proxy is well, so for a while after the store is back an absence proves nothing. The zero value is
// an empty roster. It is not safe for concurrent use.
type Roster struct {
	// Settle is how long the store must have answered without a break before an absence counts.
	Settle time.Duration

	known  map[tunnel.ProxyID]Proxy
	steady bool // the last read succeeded
	since  time.Time
}

// Missed notes that the store did not answer.
func (r *Roster) Missed() { r.steady = false }

// Listed takes what the store listed at now and gives the proxies to use, by id. A proxy that said that it drains is
// gone at once. One that is absent is kept until the store has settled; the last ones are kept for good, since whether
// they answer is for the link to find out.
func (r *Roster) Listed(now time.Time, listed []Proxy) []Proxy {
	if !r.steady {
		r.steady, r.since = true, now
	}
	next := make(map[tunnel.ProxyID]Proxy, len(listed))
	drained := map[tunnel.ProxyID]bool{}
	for _, p := range listed {
		if p.Draining {
			drained[p.ID] = true
		} else {
			next[p.ID] = p
		}
	}
	if settled := now.Sub(r.since) >= r.Settle; !settled || len(next) == 0 {
		for id, p := range r.known {
			if _, listed := next[id]; !listed && !drained[id] {
				next[id] = p
			}
		}
	}
	r.known = next
	out := make([]Proxy, 0, len(next))
	for _, p := range next {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

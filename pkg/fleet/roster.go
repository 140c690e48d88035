package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Roster remembers the proxies of a deployment through outages of the store. The registration of a healthy proxy expires while the
// store is unavailable, so for a while after the outage an absent proxy is kept. The zero value is an empty roster. It is not safe
// for concurrent use.
type Roster struct {
	// Settle is how long the store must have been available without a break before an absent proxy is dropped.
	Settle time.Duration

	known  map[tunnel.ProxyID]Proxy
	steady bool // the last read succeeded
	since  time.Time
}

// Missed records that the store was unavailable.
func (r *Roster) Missed() { r.steady = false }

// Listed returns the proxies to use, by id, after the store has listed proxies at now. A draining proxy is dropped at once. An absent
// one is kept until the store has settled; the last ones are kept for good, since the link finds out whether they respond.
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

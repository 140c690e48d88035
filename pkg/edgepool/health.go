package edgepool

import (
	"maps"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Times of the hold-down: doubling with each failure in a row. The first is several times the timeout of a QUIC dial: otherwise the hold of
// one dead address would be over before a second one is known to be dead, and the slot would go back and forth between them.
const (
	HoldBase = 30 * time.Second
	HoldMax  = 10 * time.Minute
)

// Verdict is what the end of an attempt says about its address (docs/spec/lifecycle.md 4.3).
type Verdict struct {
	// Move says that the slot takes another address.
	Move bool
	// Bad says that the address is to blame, and is held down.
	Bad bool
}

// Judge gives the verdict for a reason. A refusal that every address would give, or an end by this side, says nothing about
// the address.
func Judge(r tunnel.Reason) Verdict {
	switch r {
	case tunnel.ReasonDial, tunnel.ReasonClosed, tunnel.ReasonIdle, tunnel.ReasonTLS:
		return Verdict{Move: true, Bad: true}
	case tunnel.ReasonDuplicate:
		return Verdict{Move: true}
	case tunnel.ReasonNone, tunnel.ReasonBlocked, tunnel.ReasonRefused, tunnel.ReasonRPC, tunnel.ReasonPeerClosed,
		tunnel.ReasonDrained, tunnel.ReasonForced, tunnel.ReasonFenced, tunnel.ReasonInternal:
		return Verdict{}
	default:
		return Verdict{}
	}
}

// Condition is the health of one address as seen from one host.
type Condition struct {
	// Failures in a row.
	Failures int
	Last     tunnel.Reason
	// HeldUntil is when the address is as good as any other again.
	HeldUntil time.Time
}

// Health holds the conditions of the addresses that are not well. It belongs to one host, so that a broken host does not
// make an address bad for all. Values are never changed: every change is another Health.
type Health map[netip.AddrPort]Condition

// Held reports whether a is held down at now.
func (h Health) Held(a netip.AddrPort, now time.Time) bool { return now.Before(h[a].HeldUntil) }

// After is the health after an attempt on a ended at now for the reason; tunnel.ReasonNone is a success, and forgets.
// Reasons that say nothing about the address change nothing.
func (h Health) After(a netip.AddrPort, r tunnel.Reason, now time.Time) Health {
	known, found := h[a]
	switch {
	case r == tunnel.ReasonNone && found:
		next := maps.Clone(h)
		delete(next, a)
		return next
	case Judge(r).Bad:
		next := maps.Clone(h)
		if next == nil {
			next = Health{}
		}
		known.Failures++
		known.Last = r
		known.HeldUntil = now.Add(hold(known.Failures))
		next[a] = known
		return next
	default:
		return h
	}
}

// Within is the health without the addresses that are not in the pool any more.
func (h Health) Within(p Pool) Health {
	next := Health{}
	for _, a := range p.Addresses(Any) {
		if c, found := h[a.Addr]; found {
			next[a.Addr] = c
		}
	}
	return next
}

func hold(failures int) time.Duration {
	d := HoldBase
	for i := 1; i < failures && d < HoldMax; i++ {
		d *= 2
	}
	return min(d, HoldMax)
}

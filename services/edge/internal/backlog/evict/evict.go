// Package evict decides which responses to abort when too many of them wait for their visitors. It is pure.
package evict

import (
	"cmp"
	"slices"
	"time"
)

// Timeouts say how long a visitor may read nothing before its response may be aborted.
type Timeouts struct {
	// Stall holds in general, Pressure when the responses that have waited for at least Pressure could take three quarters of the
	// window.
	Stall, Pressure time.Duration
}

// Window is the flow-control window of a connection, in bytes: of the whole connection, and of one stream at its beginning
// and at most.
type Window struct{ Conn, First, Most int64 }

// Claim is what a response that waits for its visitor may take of the window.
type Claim[K any] struct {
	Key    K
	Waited time.Duration
	Bytes  int64
}

// Held is how much of the window a stream may take at most after its reader has read some bytes: windows double for a
// reader that keeps up, each time a quarter of one was read.
func Held(w Window, read int64) int64 { return min(w.Most, w.First+4*read) }

// MayExceed reports whether n streams could take more than half of the window, so that there is something to decide.
func MayExceed(w Window, n int) bool { return int64(n)*w.Most > w.Conn/2 }

// Choose returns the claims to abort, those that have waited longest first, so that the others can take at most half of the
// window. It reorders claims; the result is a part of it.
func Choose[K any](w Window, t Timeouts, claims []Claim[K]) []Claim[K] {
	var total int64
	for _, c := range claims {
		if c.Waited >= t.Pressure {
			total += c.Bytes
		}
	}
	least := t.Stall
	if total > w.Conn*3/4 {
		least = t.Pressure
	}
	slices.SortFunc(claims, func(a, b Claim[K]) int { return cmp.Compare(b.Waited, a.Waited) })
	n := 0
	for ; n < len(claims) && total > w.Conn/2 && claims[n].Waited >= least; n++ {
		total -= claims[n].Bytes
	}
	return claims[:n]
}

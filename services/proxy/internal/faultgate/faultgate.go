package faultgate

import (
	"sync"
	"time"
)

// QuietPeriod is how long further faults of a kind are suppressed after one was reported.
const QuietPeriod = 10 * time.Second

// Gate lets one report of each kind of fault through per QuietPeriod. The zero value is ready. Kinds must come from a
// bounded set.
type Gate struct {
	mu    sync.Mutex
	kinds map[string]gateState // by kind
}

type gateState struct {
	last       time.Time
	suppressed int
}

// Pass says whether a fault of this kind is reported now, and how many of its kind were not since the last report.
func (g *Gate) Pass(kind string, now time.Time) (ok bool, suppressed int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st, seen := g.kinds[kind]
	if seen && now.Sub(st.last) < QuietPeriod {
		st.suppressed++
		g.kinds[kind] = st
		return false, 0
	}
	if g.kinds == nil {
		g.kinds = make(map[string]gateState)
	}
	g.kinds[kind] = gateState{last: now}
	return true, st.suppressed
}

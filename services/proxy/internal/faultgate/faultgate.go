package faultgate

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// QuietPeriod is how long further faults of a kind are suppressed after one was reported.
const QuietPeriod = 10 * time.Second

// Gate lets one report of each kind of fault through per QuietPeriod. The zero value is ready. Kinds must come from a
// bounded set.
type Gate struct {
	mu    sync.Mutex
	kinds map[string]*gateState // by kind
}

type gateState struct {
	limiter    *rate.Limiter
	suppressed int
}

// Pass says whether a fault of this kind is reported now, and how many of its kind were not since the last report.
func (g *Gate) Pass(kind string, now time.Time) (ok bool, suppressed int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := g.kinds[kind]
	if st == nil {
		if g.kinds == nil {
			g.kinds = make(map[string]*gateState)
		}
		st = &gateState{limiter: rate.NewLimiter(rate.Every(QuietPeriod), 1)}
		g.kinds[kind] = st
	}
	if !st.limiter.AllowN(now, 1) {
		st.suppressed++
		return false, 0
	}
	suppressed, st.suppressed = st.suppressed, 0
	return true, suppressed
}

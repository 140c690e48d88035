package balance

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance/decide"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// statusError is a response whose status counts as a failure of its origin.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// attempts are those of one request.
type attempts struct {
	g      *Group
	places []place
	safe   bool
	in     decide.Input
	made   int

	current *member         // of the attempt in progress; nil without one
	settle  func(err error) // tells its breaker; nil without one
}

// Next chooses an origin. One that lets no request through after all is passed over.
func (a *attempts) Next() (*origin.Origin, bool) {
	a.leave()
	now := time.Now()
	all := make([]decide.Candidate, len(a.places))
	for {
		for i := range a.places {
			p := &a.places[i]
			all[i] = decide.Candidate{
				ID: p.id, Weight: p.weight, Backup: p.backup, Usable: p.usable(a.safe), InFlight: p.inFlight.Load(),
				Share: decide.SlowStart(p.back(), now, a.g.balance.Slow),
			}
		}
		i, panicking, ok := decide.Choose(a.in, all)
		if !ok {
			return nil, false
		}
		a.in.Tried |= 1 << i
		m := a.places[i].member
		if panicking {
			a.g.hub.panicky.Inc()
		}
		if m.breaker != nil {
			settle, err := m.breaker.Allow()
			switch {
			case err == nil:
				a.settle = settle // in a panic too: a success ends the ejection
			case !panicking:
				continue // another request is trying whether it works again
			}
		}
		a.current = m
		m.inFlight.Add(1)
		a.made++
		return m.origin, true
	}
}

// Again settles the attempt and decides whether there is another one.
func (a *attempts) Again(r origin.Result) bool {
	err := r.Err
	if err == nil && a.g.balance.Failure.Has(r.Status) {
		err = statusError(r.Status)
	}
	switch {
	case r.Neutral:
		a.report(errNeutral)
		return false
	case err == nil:
		a.report(nil)
		return false
	}
	a.report(err)
	if r.Last || a.made >= a.g.balance.Attempts || !a.safe && !r.Unsent || bits.OnesCount64(a.in.Tried) == len(a.places) {
		return false
	}
	a.g.mu.Lock()
	ok := a.g.budget.Repeat()
	a.g.mu.Unlock()
	if !ok {
		a.g.hub.refused.Inc()
		return false
	}
	a.g.hub.repeats.Inc()
	return true
}

// report tells the breaker the result of the attempt, once.
func (a *attempts) report(err error) {
	if a.settle != nil {
		a.settle(err)
		a.settle = nil
	}
}

// leave ends the attempt in progress.
func (a *attempts) leave() {
	a.report(errNeutral)
	if a.current != nil {
		a.current.inFlight.Add(-1)
		a.current = nil
	}
}

// End says that the request is over.
func (a *attempts) End() { a.leave() }

package decide

import "time"

// Health is what the checks of an origin have shown. The zero value is an origin that has not been checked: it counts as well.
type Health struct {
	Checked bool
	Down    bool
	Streak  int       // results in a row that contradict the state
	Since   time.Time // of the state; zero for an origin that was never down
}

// After gives the health after a check. The first result counts at once; later ones change the state when rise good ones or fall bad ones
// come in a row.
func (h Health) After(good bool, rise, fall int, now time.Time) Health {
	if !h.Checked {
		next := Health{Checked: true, Down: !good}
		if next.Down {
			next.Since = now
		}
		return next
	}
	if good != h.Down {
		h.Streak = 0 // the result confirms the state
		return h
	}
	h.Streak++
	need := fall
	if h.Down {
		need = rise
	}
	if h.Streak < need {
		return h
	}
	return Health{Checked: true, Down: !good, Since: now}
}

// minShare is the part of its weight with which an origin begins its slow start.
const minShare = 0.1

// SlowStart is the part of its weight that an origin gets which can be used again since a time: it grows over window. Zero for since is an
// origin that was never out of use.
func SlowStart(since, now time.Time, window time.Duration) float64 {
	if window <= 0 || since.IsZero() {
		return 1
	}
	part := float64(now.Sub(since)) / float64(window)
	return min(1, max(minShare, part))
}

// Budget bounds repeats to a part of the requests, with a reserve for times of little traffic: an outage must not multiply the load.
type Budget struct{ credit int }

const (
	creditUnit    = 100 // one repeat
	creditReserve = 10 * creditUnit
	creditMost    = 100 * creditUnit
)

// NewBudget has a reserve of ten repeats.
func NewBudget() Budget { return Budget{creditReserve} }

// Request adds the share, in percent, that a request contributes.
func (b *Budget) Request(percent int) { b.credit = min(b.credit+percent, max(b.credit, creditMost)) }

// Repeat takes what a repeat costs. It reports false when there is too little.
func (b *Budget) Repeat() bool {
	if b.credit < creditUnit {
		return false
	}
	b.credit -= creditUnit
	return true
}

package look

import "time"

const (
	// quiet is how long no change must come before a look: changes come in groups. groupMax is how long a group may last.
	quiet    = time.Second
	groupMax = 5 * time.Second
	// spread is the bound of the random part, so that the hosts of a network that returns do not look at the same moment.
	spread = time.Second
	// every is the least time between two looks.
	every = 30 * time.Second
	// jump is how much more the wall clock must have moved than the monotonic one: the host slept.
	jump = 10 * time.Second
)

// Random draws a number in [0, n).
type Random func(n int64) int64

// Decider decides when changes of the network lead to a look. It is not safe for concurrent use.
type Decider struct {
	random Random
	// first and due are the first change of the present group and when it leads to a look; due is zero without one.
	first, due time.Time
	last       time.Time
	extra      time.Duration
	// seen is the last time that Clock got.
	seen time.Time
}

// New makes a decider.
func New(random Random) *Decider { return &Decider{random: random} }

// Changed takes a change at now, and returns how long to wait for the look: Due says then whether it is time.
func (d *Decider) Changed(now time.Time) time.Duration {
	if d.due.IsZero() {
		d.first, d.extra = now, time.Duration(d.random(int64(spread)))
	}
	due := now.Add(quiet)
	if bound := d.first.Add(groupMax); due.After(bound) {
		due = bound
	}
	if !d.last.IsZero() && due.Before(d.last.Add(every)) {
		due = d.last.Add(every)
	}
	d.due = due.Add(d.extra)
	return d.due.Sub(now)
}

// Due reports whether it is time for the look, and takes it as done.
func (d *Decider) Due(now time.Time) bool {
	if d.due.IsZero() || now.Before(d.due) {
		return false
	}
	d.due, d.last = time.Time{}, now
	return true
}

// Clock compares the clocks; now must have a monotonic reading. It reports whether the host slept since the last call. A wall clock
// that was set forward looks the same, and costs one look.
func (d *Decider) Clock(now time.Time) bool {
	before := d.seen
	d.seen = now
	return !before.IsZero() && slept(now.Sub(before), now.Round(0).Sub(before.Round(0)))
}

// slept compares how far the two clocks moved.
func slept(monotonic, wall time.Duration) bool { return wall-monotonic > jump }

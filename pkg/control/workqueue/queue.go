package workqueue

import (
	"cmp"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// failBase and failMost bound the wait after failures in a row, which doubles.
	failBase = time.Second
	failMost = 30 * time.Second
	// failedMost is how many tunnels that failed before one Take gives: each may take as long as a call to a store that does not respond.
	failedMost = 2
)

// item is one tunnel.
type item struct {
	due      time.Time
	failures int
}

// Queue is the tunnels with the times of their next look. The zero value is an empty queue.
type Queue struct{ items map[tunnel.ID]*item }

// Keep makes the queue have these tunnels and no others. New ones are due at once.
func (q *Queue) Keep(now time.Time, tunnels []tunnel.ID) {
	kept := make(map[tunnel.ID]*item, len(tunnels))
	for _, t := range tunnels {
		if kept[t] = q.items[t]; kept[t] == nil {
			kept[t] = &item{due: now}
		}
	}
	q.items = kept
}

// Mark makes a tunnel due now, unless it failed: then it is due when its wait is over. A tunnel that the queue does not have stays out.
func (q *Queue) Mark(now time.Time, t tunnel.ID) { q.At(t, now) }

// At makes a tunnel due at a time, unless it is due before, or failed.
func (q *Queue) At(t tunnel.ID, due time.Time) {
	if i := q.items[t]; i != nil && i.failures == 0 && due.Before(i.due) {
		i.due = due
	}
}

// MarkAll makes every tunnel due now that did not fail.
func (q *Queue) MarkAll(now time.Time) {
	for t := range q.items {
		q.Mark(now, t)
	}
}

// Take gives the tunnels that are due, at most so many, in the order of their times; of those that failed before it gives few, and last.
// Each stays due until Done or Failed.
func (q *Queue) Take(now time.Time, most int) []tunnel.ID {
	type entry struct {
		id tunnel.ID
		*item
	}
	var well, failed []entry
	for t, i := range q.items {
		switch {
		case i.due.After(now):
		case i.failures > 0:
			failed = append(failed, entry{t, i})
		default:
			well = append(well, entry{t, i})
		}
	}
	order := func(a, b entry) int { return cmp.Or(a.due.Compare(b.due), slices.Compare(a.id[:], b.id[:])) }
	slices.SortFunc(well, order)
	slices.SortFunc(failed, order)
	list := append(well[:min(len(well), most)], failed[:min(len(failed), failedMost)]...)
	out := make([]tunnel.ID, len(list))
	for n, e := range list {
		out[n] = e.id
	}
	return out
}

// Done says that a tunnel was looked at, and is due again then. What failed with it before is likely to work, too: all tunnels that failed
// are due.
func (q *Queue) Done(now time.Time, t tunnel.ID, next time.Time) {
	i := q.items[t]
	if i == nil {
		return
	}
	recovered := i.failures > 0
	i.due, i.failures = next, 0
	if !recovered {
		return
	}
	for _, other := range q.items {
		if other.failures > 0 && now.Before(other.due) {
			other.due = now
		}
	}
}

// Failed says that a tunnel could not be looked at.
func (q *Queue) Failed(now time.Time, t tunnel.ID) {
	i := q.items[t]
	if i == nil {
		return
	}
	wait := failBase
	for n := 0; n < i.failures && wait < failMost; n++ {
		wait *= 2
	}
	i.failures++
	i.due = now.Add(min(wait, failMost))
}

// Due reports whether a tunnel is due that did not fail.
func (q *Queue) Due(now time.Time) bool {
	for _, i := range q.items {
		if i.failures == 0 && !i.due.After(now) {
			return true
		}
	}
	return false
}

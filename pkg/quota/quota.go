package quota

import (
	"cmp"
	"slices"
	"time"
)

const (
	// Lease is how long a share is valid for certain.
	Lease = 6 * time.Second
	// RenewEvery is the time between two renewals.
	RenewEvery = Lease / 4
	// Settle is how long a new Table gives nobody more than it has: long enough for all to say what they have.
	Settle = 2 * RenewEvery
	// MaxLimit is the largest limit that is shared: what the store can count exactly.
	MaxLimit = 1 << 48

	// StaleAfter is when the unused rest of a share that is not renewed goes back.
	StaleAfter = 2 * Lease
	// GoneAfter is when all of a share that is not renewed goes back.
	GoneAfter = 4 * Lease
	// initialPart is the part of a limit that a process has before it has a share.
	initialPart = 10
)

// Initial is the share of a process that has not heard of the store yet: never all, never nothing.
func Initial(limit uint64) uint64 { return max(1, limit/initialPart) }

// Want is how many places a process asks for that had a demand for so many at a time: never nothing. What nobody wants is given out as
// well, so there mostly is more than that.
func Want(demand uint64) uint64 { return max(1, demand) }

// Ask is what a process says when it renews.
type Ask struct {
	// Process is a name that no other process has, not even a later one.
	Process string
	// Seq grows with each Ask of a process. One that arrives behind a later one changes nothing.
	Seq uint64
	// Limit is the one that is shared, as the process knows it.
	Limit uint64
	// Held is the share that the process has, or the places in use if they are more.
	Held uint64
	// Used are the places in use, and Want those that it could use.
	Used, Want uint64
}

// Answer is the share of a process until the next one. A process whose share is smaller than its places in use takes no further ones.
type Answer struct {
	Share uint64
	// Processes is how many share the limit.
	Processes int
	// Short says that the process gets less than it could because others still hold it: they give it back when they renew.
	Short bool
}

// record is what is known of one process.
type record struct {
	Ask
	renewed time.Duration
}

// Table is the state of one limit. Times are those of one clock.
type Table struct {
	since   time.Duration // of the first record
	records map[string]record
}

// Renew answers an Ask at the time now.
func (t *Table) Renew(now time.Duration, a Ask) Answer {
	t.expire(now)
	if len(t.records) == 0 {
		t.since, t.records = now, map[string]record{}
	}
	if r, known := t.records[a.Process]; known && r.Seq >= a.Seq {
		return Answer{Share: r.Held, Processes: len(t.records)}
	}
	a.Limit = min(a.Limit, MaxLimit)
	var held, reserved uint64 // by others; of those that do not renew
	wants := []want{{a.Process, a.Want}}
	for name, r := range t.records {
		switch {
		case name == a.Process:
		case now-r.renewed >= StaleAfter:
			held, reserved = held+r.Used, reserved+r.Used
		default:
			held += r.Held
			wants = append(wants, want{name, r.Want})
		}
	}
	target := fair(a.Limit-min(a.Limit, reserved), wants, a.Process)
	share := target
	if target > a.Held {
		free := a.Limit - min(a.Limit, held+a.Held)
		if now-t.since < Settle {
			free = 0
		}
		share = a.Held + min(target-a.Held, free)
	}
	answer := Answer{Share: share, Short: share < target}
	a.Held = max(a.Held, share) // a smaller share counts once the process has said that it holds no more
	t.records[a.Process] = record{Ask: a, renewed: now}
	answer.Processes = len(t.records)
	return answer
}

// Leave gives back what a process has.
func (t *Table) Leave(process string) { delete(t.records, process) }

type want struct {
	process string
	places  uint64
}

func (t *Table) expire(now time.Duration) {
	for name, r := range t.records {
		if now-r.renewed >= GoneAfter {
			delete(t.records, name)
		}
	}
}

// fair gives the part of one process when a number of places is divided: nobody gets more than a smaller wish left unfulfilled would
// need, and what is left over is divided equally.
func fair(places uint64, wants []want, process string) uint64 {
	slices.SortFunc(wants, func(a, b want) int {
		return cmp.Or(cmp.Compare(a.places, b.places), cmp.Compare(a.process, b.process))
	})
	left, part, at := places, uint64(0), 0
	for i, w := range wants {
		got := min(w.places, left/uint64(len(wants)-i))
		left -= got
		if w.process == process {
			part, at = got, i
		}
	}
	n := uint64(len(wants))
	part += left / n
	if uint64(at) < left%n {
		part++
	}
	return part
}

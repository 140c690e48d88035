package chaos

import (
	"cmp"
	"slices"
	"time"
)

// Slot is an index of a tunnel, as an edge sees it.
type Slot struct {
	Tunnel string
	Index  int
}

// Conn is an active session that the edge shows.
type Conn struct {
	ID        string
	Slot      Slot
	Connector string
	// Worker is who holds it, and Protocol how.
	Worker, Protocol string
	// Address is the edge's, Version the worker's.
	Address, Version string
}

// Timeline is what was seen of the sessions at an edge, look by look. Times are relative to the first look of all. The zero value is
// empty; it is not safe for concurrent use.
type Timeline struct {
	looks []look
}

type look struct {
	at    time.Duration
	conns []Conn
}

// Saw adds one look; times must not go back.
func (t *Timeline) Saw(at time.Duration, conns []Conn) {
	t.looks = append(t.looks, look{at, slices.Clone(conns)})
}

// Of is the timeline of some slots.
func (t *Timeline) Of(which func(Slot) bool) *Timeline {
	part := &Timeline{}
	for _, l := range t.looks {
		var conns []Conn
		for _, c := range l.conns {
			if which(c.Slot) {
				conns = append(conns, c)
			}
		}
		part.looks = append(part.looks, look{l.at, conns})
	}
	return part
}

// Now returns the sessions of the last look.
func (t *Timeline) Now() []Conn {
	if len(t.looks) == 0 {
		return nil
	}
	return t.looks[len(t.looks)-1].conns
}

// Unchanged says for how long the sessions have been the same ones.
func (t *Timeline) Unchanged() time.Duration {
	if len(t.looks) == 0 {
		return 0
	}
	last := t.looks[len(t.looks)-1]
	since := last.at
	for _, l := range slices.Backward(t.looks) {
		if !same(l.conns, last.conns) {
			break
		}
		since = l.at
	}
	return last.at - since
}

func same(a, b []Conn) bool {
	if len(a) != len(b) {
		return false
	}
	return slices.Equal(ids(a), ids(b))
}

func ids(conns []Conn) []string {
	list := make([]string, 0, len(conns))
	for _, c := range conns {
		list = append(list, c.ID)
	}
	slices.Sort(list)
	return list
}

// Summary is what happened in a part of a timeline.
type Summary struct {
	// Unserved is the longest time that one index had no session in all, Gap the longest single one, and Gaps the largest number of them
	// of one index.
	Unserved, Gap time.Duration
	Gaps          int
	// Worst is the index with the longest time without a session.
	Worst Slot
	// Registrations counts new sessions, PerSlot the largest number of one index, PerConnector of one connector.
	Registrations, PerSlot, PerConnector int
	// Moves counts new sessions at another worker than the index had before.
	Moves int
	// Began is the number of sessions at the start, Kept how many of them were there at the end.
	Began, Kept int
	// Connectors is the largest number of connectors that one tunnel had.
	Connectors int
	// Down is the number of slots without a session at the end.
	Down int
}

// KeptPercent is the share of sessions that were kept.
func (s Summary) KeptPercent() float64 {
	if s.Began == 0 {
		return 0
	}
	return 100 * float64(s.Kept) / float64(s.Began)
}

// Summary sums up what was seen from one time to another of the slots that must be served. The time between two looks counts as
// what the first of them saw.
func (t *Timeline) Summary(from, to time.Duration, slots []Slot) Summary {
	first, last := t.span(from, to)
	var sum Summary
	if last < first {
		return sum
	}
	known := map[string]bool{}
	holder := map[Slot]string{}
	for _, l := range t.looks[:first+1] {
		for _, c := range l.conns {
			known[c.ID], holder[c.Slot] = true, c.Worker
		}
	}
	perSlot, perConnector := map[Slot]int{}, map[string]int{}
	connectors := map[string]map[string]bool{}
	for i := first; i <= last; i++ {
		for _, c := range t.looks[i].conns {
			if connectors[c.Slot.Tunnel] == nil {
				connectors[c.Slot.Tunnel] = map[string]bool{}
			}
			connectors[c.Slot.Tunnel][c.Connector] = true
			if known[c.ID] {
				continue
			}
			known[c.ID] = true
			sum.Registrations++
			perSlot[c.Slot]++
			perConnector[c.Connector]++
			if holder[c.Slot] != "" && holder[c.Slot] != c.Worker {
				sum.Moves++
			}
			holder[c.Slot] = c.Worker
		}
	}
	sum.PerSlot, sum.PerConnector = largest(perSlot), largest(perConnector)
	for _, of := range connectors {
		sum.Connectors = max(sum.Connectors, len(of))
	}
	began, end := t.looks[first].conns, ids(t.looks[last].conns)
	sum.Began = len(began)
	for _, c := range began {
		if _, there := slices.BinarySearch(end, c.ID); there {
			sum.Kept++
		}
	}
	for _, s := range slots {
		t.gaps(first, last, to, s, &sum)
	}
	return sum
}

// span returns the indices of the looks that matter: the last one at or before from, to the last one at or before to.
func (t *Timeline) span(from, to time.Duration) (first, last int) {
	at := func(d time.Duration) int {
		i, found := slices.BinarySearchFunc(t.looks, d, func(l look, d time.Duration) int { return cmp.Compare(l.at, d) })
		if !found {
			i--
		}
		return i
	}
	return max(0, at(from)), at(to)
}

// gaps adds the times in which a slot had no session.
func (t *Timeline) gaps(first, last int, to time.Duration, s Slot, sum *Summary) {
	var total, gap, longest time.Duration
	n := 0
	for i := first; i <= last; i++ {
		served := slices.ContainsFunc(t.looks[i].conns, func(c Conn) bool { return c.Slot == s })
		if served {
			gap = 0
			continue
		}
		if gap == 0 {
			n++
		}
		end := to
		if i < last {
			end = t.looks[i+1].at
		}
		total += end - t.looks[i].at
		gap += end - t.looks[i].at
		longest = max(longest, gap)
		if i == last {
			sum.Down++
		}
	}
	if total > sum.Unserved {
		sum.Unserved, sum.Worst = total, s
	}
	sum.Gap = max(sum.Gap, longest)
	sum.Gaps = max(sum.Gaps, n)
}

func largest[K comparable](counts map[K]int) int {
	n := 0
	for _, c := range counts {
		n = max(n, c)
	}
	return n
}

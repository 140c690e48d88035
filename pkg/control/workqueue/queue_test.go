package workqueue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/workqueue"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var start = time.Unix(1000, 0)

func ids(numbers ...byte) []tunnel.ID {
	list := make([]tunnel.ID, len(numbers))
	for i, n := range numbers {
		list[i] = tunnel.ID{n}
	}
	return list
}

func wantTake(t *testing.T, q *workqueue.Queue, now time.Time, most int, want ...byte) {
	t.Helper()
	if got := q.Take(now, most); !slices.Equal(got, ids(want...)) {
		t.Errorf("Take(%v, %d): got %v, want %v", now.Sub(start), most, got, ids(want...))
	}
}

func TestOrder(t *testing.T) {
	var q workqueue.Queue
	q.Keep(start, ids(1, 2, 3))
	wantTake(t, &q, start, 9, 1, 2, 3)
	wantTake(t, &q, start, 2, 1, 2)
	for i, id := range ids(1, 2, 3) {
		q.Done(start, id, start.Add(time.Duration(9-i)*time.Second))
	}
	if q.Due(start) {
		t.Error("something is due right after all were looked at")
	}
	wantTake(t, &q, start.Add(8*time.Second), 9, 3, 2)
	q.Mark(start, tunnel.ID{1})
	q.Mark(start, tunnel.ID{7})
	if !q.Due(start) {
		t.Error("a marked tunnel is not due")
	}
	wantTake(t, &q, start, 9, 1)
	q.At(tunnel.ID{1}, start.Add(time.Second)) // later than it is due
	wantTake(t, &q, start, 9, 1)
	q.MarkAll(start)
	wantTake(t, &q, start, 9, 1, 2, 3)
	q.Keep(start.Add(time.Second), ids(2, 4))
	wantTake(t, &q, start.Add(time.Second), 9, 2, 4)
}

// TestFailures: what fails waits longer each time, comes last and in small numbers, and comes back as soon as one of them works.
func TestFailures(t *testing.T) {
	var q workqueue.Queue
	q.Keep(start, ids(1, 2, 3, 4, 5))
	for _, id := range ids(1, 2, 3) {
		q.Failed(start, id)
	}
	q.MarkAll(start)
	wantTake(t, &q, start, 9, 4, 5)
	wantTake(t, &q, start.Add(time.Second), 9, 4, 5, 1, 2)
	wantTake(t, &q, start.Add(time.Second), 1, 4, 1, 2)
	now := start
	for _, wait := range []time.Duration{2, 4, 8, 16, 30, 30} {
		now = now.Add(wait * time.Second)
		q.Failed(now, tunnel.ID{1})
		q.Done(now, tunnel.ID{4}, now.Add(time.Hour))
		q.Done(now, tunnel.ID{5}, now.Add(time.Hour))
	}
	wantTake(t, &q, now.Add(29*time.Second), 9, 2, 3)
	if q.Due(now.Add(29 * time.Second)) {
		t.Error("what failed counts as due")
	}
	q.Done(now, tunnel.ID{2}, now.Add(time.Hour))
	wantTake(t, &q, now, 9, 3, 1)
	q.Failed(now, tunnel.ID{9})
	q.Done(now, tunnel.ID{9}, now)
	wantTake(t, &q, now, 9, 3, 1)
}

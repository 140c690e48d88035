package storetest

import (
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// testRevisions: whoever lists the workers again and again sees each record as it is, although only those that changed are sent.
func testRevisions(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, other := open(t), open(t)
	first, second := newProcess(t, s, tunnel.WorkerID(unique(t)), "a"), newProcess(t, s, tunnel.WorkerID(unique(t)), "b")
	want := func(what string, p *process) {
		t.Helper()
		for name, from := range map[string]*redisstore.Store{"the store that lists for the first time": open(t), "the same store": other} {
			l, err := from.Fleet(t.Context(), 0)
			if err != nil {
				t.Fatalf("Fleet: %v", err)
			}
			i := slices.IndexFunc(l.Workers, func(w fleet.Worker) bool { return w.ID == p.Worker.ID })
			if i < 0 || l.Workers[i].Capacity != p.Worker.Capacity || l.Workers[i].Instance != p.Worker.Instance {
				t.Errorf("%s, %s: listed are %+v, want %+v", what, name, l.Workers, p.Worker)
			}
		}
	}
	first.Worker.Capacity, second.Worker.Capacity = 1, 2
	first.renew(true, long)
	second.renew(true, long)
	want("two workers", first)
	want("two workers", second)
	second.renew(true, long) // nothing changed
	first.renew(false, long)
	want("after renewals", first)
	want("after renewals", second)
	first.Worker.Capacity = 3
	first.renew(true, long)
	want("a record that changed", first)
	want("a record that changed", second)

	// A version that writes no revisions has the id for a while.
	if err := s.RemoveWorker(t.Context(), second.Worker.ID, "b"); err != nil {
		t.Fatalf("RemoveWorker: %v", err)
	}
	l, err := other.Fleet(t.Context(), 0)
	if err != nil || slices.ContainsFunc(l.Workers, func(w fleet.Worker) bool { return w.ID == second.Worker.ID }) {
		t.Errorf("a worker that was removed is listed, %v", err)
	}
	for _, capacity := range []int{4, 5} {
		second.Worker.Capacity, second.Worker.Instance = capacity, ""
		if err := s.PutWorker(t.Context(), second.Worker, long); err != nil {
			t.Fatalf("PutWorker: %v", err)
		}
		want("a record without a revision", second)
	}
}

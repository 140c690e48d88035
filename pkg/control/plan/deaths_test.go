package plan

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestDeaths: a slot whose holders die one after the other waits longer and longer; one whose holder drained does not.
func TestDeaths(t *testing.T) {
	const begun = -time.Second
	for name, c := range map[string]struct {
		deaths      int
		left        time.Duration
		here        bool // the holder drains, instead of being gone
		want        int
		least, most time.Duration
	}{
		"the first death":                {0, begun, false, 1, 0, 0},
		"the second":                     {1, begun, false, 2, 15 * time.Second, 15 * time.Second},
		"the third":                      {2, begun, false, 3, 10 * time.Minute, 750 * time.Second},
		"the fourth":                     {3, begun, false, 4, 20 * time.Minute, 25 * time.Minute},
		"the hundredth":                  {99, begun, false, 100, time.Hour, 75 * time.Minute},
		"a holder that had not begun":    {2, 7 * time.Second, false, 2, 7 * time.Second, 7 * time.Second},
		"a holder that drains":           {2, begun, true, 2, 0, 0},
		"one that drains while it waits": {3, time.Minute, true, 3, time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			for _, random := range []func(int) int{first, func(n int) int { return n - 1 }} {
				r := record(0, "w1", 1, lease.Status{State: lease.StateConnecting, Past: lease.Past{Deaths: c.deaths}})
				r.Wait = c.left
				workers := []fleet.Worker{worker("w2", "h2", tunnelA)}
				if c.here {
					workers = append(workers, draining(worker("w1", "h1", tunnelA)))
				}
				w := with(world(connector(r), 4, workers...), func(w *World) { w.Random = random })
				var got *Grant
				for _, a := range Plan(w).Actions {
					if g, ok := a.(Grant); ok && g.Slot.Index == 0 {
						got = &g
					}
				}
				if got == nil || got.Worker != "w2" || got.Past.Deaths != c.want || got.Wait < c.least || got.Wait > c.most {
					t.Errorf("grant %+v, want %d deaths and a wait of %v to %v", got, c.want, c.least, c.most)
				}
			}
		})
	}
}

// TestSuspectsApart: two slots whose holder died go to different workers, although one of them has more room.
func TestSuspectsApart(t *testing.T) {
	gone := func(i tunnel.ConnIndex) lease.Record {
		r := record(i, "w1", int(i)+1, lease.Status{State: lease.StateConnected, Past: lease.Past{Deaths: 1}})
		r.Wait = -time.Second
		return r
	}
	busy := worker("w3", "h3", tunnelA)
	w := world(connector(gone(0), gone(1), connected(2, "w3", 3), connected(3, "w3", 4)), 8, worker("w2", "h2", tunnelA), busy)
	to := map[tunnel.WorkerID]int{}
	for _, a := range Plan(w).Actions {
		if g, ok := a.(Grant); ok {
			to[g.Worker]++
		}
	}
	if to["w2"] != 1 || to["w3"] != 1 {
		t.Errorf("granted to %v, want one to each", to)
	}
}

// TestLastToBeginIsSuspected: a slot that began well before another one of the same process did not kill it; slots that began together are
// told apart by beginning one after the other.
func TestLastToBeginIsSuspected(t *testing.T) {
	gone := func(i tunnel.ConnIndex, age time.Duration) lease.Record {
		r := record(i, "w1", int(i)+1, lease.Status{State: lease.StateConnected, Past: lease.Past{Deaths: 1}})
		r.Wait = -age
		return r
	}
	w := world(connector(gone(0, time.Minute), gone(1, 13*time.Second), gone(2, 3*time.Second), gone(3, 13100*time.Millisecond)), 8,
		worker("w2", "h2", tunnelA))
	want := map[tunnel.ConnIndex]lease.Grant{
		0: {Past: lease.Past{Deaths: 1}}, 1: {Past: lease.Past{Deaths: 2}, Wait: 15 * time.Second},
		2: {Past: lease.Past{Deaths: 2}, Wait: 27 * time.Second}, 3: {Past: lease.Past{Deaths: 1}},
	}
	for _, a := range Plan(w).Actions {
		g, ok := a.(Grant)
		if e := want[g.Slot.Index]; !ok || g.Past != e.Past || g.Wait != e.Wait {
			t.Errorf("slot %d: %+v, wait %v, want %+v, %v", g.Slot.Index, g.Past, g.Wait, e.Past, e.Wait)
		}
		delete(want, g.Slot.Index)
	}
	if len(want) > 0 {
		t.Errorf("not granted: %v", want)
	}
}

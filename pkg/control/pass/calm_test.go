package pass

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestCalm: a leader that found nothing to do lists the workers and reads nothing more, for a while, and until something asks for more.
func TestCalm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	m := NewMachine(Config{ID: "s1", Connections: 1, Random: random.IntN, Entropy: chance{random}})
	now := time.Unix(1000, 0)
	workers := []fleet.Worker{{ID: "w1", Instance: "a", Capacity: 99}}
	for i := range calmOver + 1 {
		workers[0].Tunnels = append(workers[0].Tunnels, fleet.TunnelRef{ID: tunnel.ID{byte(i + 1)}, Connections: 1})
	}
	// pass makes one pass and counts how many connectors it read.
	pass := func(e Event) (reads int) {
		t.Helper()
		actions := stepOf(m, now, e)
		for range 100 {
			if len(actions) == 0 {
				t.Fatal("no action")
			}
			switch a := actions[len(actions)-1].(type) {
			case Rest:
				stepOf(m, now, Rested{})
				return reads
			case TakeLead:
				actions = stepOf(m, now, LeadReply{Lead: lease.Lead{Holds: true, Term: 7, Before: 7}})
			case ListWorkers:
				actions = stepOf(m, now, WorkersReply{Workers: append([]fleet.Worker(nil), workers...)})
			case ReadPool:
				actions = stepOf(m, now, poolOf(3))
			case ReadConnector:
				actions = stepOf(m, now, ConnectorReply{ID: tunnel.ConnectorID{a.Tunnel[0]}})
			case ReadSlots:
				reads++
				slot := tunnel.Slot{Tunnel: a.Tunnel, Connector: a.Connector}
				actions = stepOf(m, now, SlotsReply{Records: []lease.Record{{
					Grant:  lease.Grant{Slot: slot, Worker: "w1", Instance: "a", Epoch: 5, Edge: tunnel.EdgeAddr{Addr: poolOf(3).Pool.Regions[0].V4[0]}},
					Status: lease.Status{State: lease.StateConnected}, Live: true,
				}}})
			default:
				t.Fatalf("%T", a)
			}
		}
		t.Fatal("the pass does not end")
		return 0
	}
	after := func(d time.Duration) Event { now = now.Add(d); return Ticked{} }
	all := calmOver + 1
	for _, s := range []struct {
		what  string
		after time.Duration
		event Event
		want  int
	}{
		{"the first pass", 0, Started{}, all},
		{"not settled yet", time.Second, Ticked{}, all},
		{"settled", SettleTime, Ticked{}, all},
		{"calm", time.Second, Ticked{}, 0},
		{"a hint", time.Second, Hinted{}, all},
		{"calm again", time.Second, Ticked{}, 0},
	} {
		now = now.Add(s.after)
		if got := pass(s.event); got != s.want {
			t.Errorf("%s: %d connectors read, want %d", s.what, got, s.want)
		}
	}
	workers[0].Draining = true
	if got := pass(after(time.Second)); got != all {
		t.Errorf("after a worker changed: %d connectors read, want %d", got, all)
	}
	if pass(after(time.Second)); pass(after(calmTime)) != all {
		t.Error("the calm does not end")
	}
}

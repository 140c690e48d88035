package plan

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/placement"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// now is the time of the worlds of these tests.
func now() time.Time { return time.Unix(1000, 0) }

// with changes a world.
func with(w World, change func(w *World)) World {
	w.Now = now()
	change(&w)
	return w
}

func connecting(index tunnel.ConnIndex, worker tunnel.WorkerID, at int) lease.Record {
	return record(index, worker, at, lease.Status{State: lease.StateConnecting})
}

// held holds w2 off for tunnel A.
func held(w *World) {
	w.Holds = map[Hold]time.Time{{Worker: "w2", Tunnel: tunnelA}: w.Now.Add(time.Second)}
}

func TestMends(t *testing.T) {
	w1, w2, w3 := worker("w1", "h1", tunnelA), worker("w2", "h2", tunnelA), worker("w3", "h3", tunnelA)
	inUse := func(r lease.Record, at int) lease.Record { r.Status.Edge = edge(at); return r }
	for _, tt := range []struct {
		name  string
		world World
		want  string
	}{
		{"nothing is placed or released while records are lost", with(world(connector(released(connected(0, "w1", 1)), connected(7, "w1", 2)),
			8, w1),
			func(w *World) { w.Connectors[0].Lost = true }), ""},
		{"a connector that could not be read settles alone", with(world(connector(append(all(3, "w1"), connected(3, "w9", 4))...), 8, w1),
			func(w *World) { w.Connectors[0].Unsettled = true }), ""},
		{
			"a damaged slot stays, others are granted", with(world(connector(connected(1, "w1", 2), connected(2, "w1", 3)), 8, w1),
				func(w *World) { w.Connectors[0].Damaged = []tunnel.ConnIndex{0} }),
			"  grant 3 to w1 at 192.0.2.1:7844 expecting 0: free\n",
		},
		{
			"a damaged slot keeps its address", with(world(connector(connected(1, "w1", 2), connected(2, "w1", 3)), 8, w1),
				func(w *World) {
					w.Connectors[0].Damaged = []tunnel.ConnIndex{0}
					w.Connectors[0].Occupied = map[tunnel.ConnIndex]tunnel.EdgeAddr{0: edge(1)}
				}),
			"  grant 3 to w1 at 192.0.2.4:7844 expecting 0: free\n",
		},
		{
			"a worker whose record may be the unreadable one keeps its slots",
			with(world(connector(append(all(3, "w1"), connected(3, "w9", 4))...), 8, w1),
				func(w *World) { w.Unlisted = true }), "",
		},
		{
			"most workers vanished: what may be served stays, what is not moves", with(world(connector(
				connected(0, "w1", 1), connected(1, "w8", 2), expired(connected(2, "w8", 3)), expired(connected(3, "w9", 4))), 8, w1),
				func(w *World) { w.Scattered = true }),
			"  grant 2 to w1 at 192.0.2.4:7844 expecting 102: gone\n  grant 3 to w1 at 192.0.2.5:7844 expecting 103: gone\n",
		},
		{
			"most workers vanished: only as many as the bucket lets through", with(world(connector(
				connecting(0, "w1", 1), connecting(1, "w1", 2), connecting(2, "w1", 3), expired(connected(3, "w9", 4)),
				expired(connected(4, "w9", 5))), 9, w1),
				func(w *World) { w.Scattered = true; w.Connectors[0].Connections = 5; w.Connectors[0].Proved = true }),
			"  grant 3 to w1 at 192.0.2.6:7844 expecting 103: gone\n",
		},
		{"a drain waits for slots that are on the way", with(world(connector(
			connecting(0, "w2", 1), connecting(1, "w2", 2), connecting(2, "w2", 3), connecting(3, "w2", 4), connected(4, "w1", 5)), 9,
			draining(w1), w2),
			func(w *World) { w.Connectors[0].Connections = 5 }), ""},
		{
			"a worker that is held off gets nothing while another one is there", with(world(connector(connected(0, "w1", 1)), 8, w1, w2), held),
			"  grant 1 to w1 at 192.0.2.2:7844 expecting 0: free\n  grant 2 to w1 at 192.0.2.3:7844 expecting 0: free\n" +
				"  grant 3 to w1 at 192.0.2.4:7844 expecting 0: free\n",
		},
		{"and no slot by a rebalance", with(world(connector(all(4, "w1")...), 8, w1, w2), held), ""},
		{
			"those of a drain would end without it", with(world(connector(all(2, "w1")...), 8, draining(w1), w2), func(w *World) {
				held(w)
				w.Connectors[0].Connections = 2
			}), "  grant 0 to w2 at 192.0.2.3:7844 expecting 100: draining\n  grant 1 to w2 at 192.0.2.4:7844 expecting 101: draining\n",
		},
		{
			"and go to another one if there is one", with(world(connector(all(1, "w1")...), 8, draining(w1), w2, w3), func(w *World) {
				held(w)
				w.Connectors[0].Connections = 1
			}), "  grant 0 to w3 at 192.0.2.2:7844 expecting 100: draining\n",
		},
		{"alone it is better than nobody", with(world(connector(released(connected(0, "w1", 1))), 8, w2), func(w *World) {
			held(w)
			w.Connectors[0].Proved = false
		}), "  grant 0 to w2 at 192.0.2.1:7844 expecting 100: free\n"},
		{
			"after its first failure its slot goes elsewhere", with(world(connector(
				connected(0, "w1", 1), failed(1, "w2", 2, tunnel.ReasonDial, 1), connected(2, "w3", 3), connected(3, "w3", 4)), 8, w1, w2, w3), held),
			"  grant 1 to w1 at 192.0.2.6:7844 expecting 101: worker\n",
		},
		{
			"two slots share an address", world(connector(connected(0, "w1", 1), inUse(connected(1, "w1", 2), 1), connected(2, "w1", 3),
				connected(3, "w1", 4)), 8, w1),
			"  grant 1 to w1 at 192.0.2.6:7844 expecting 101: address\n",
		},
		{
			"all slots in one region", world(connector(connected(0, "w1", 1), connected(1, "w1", 3), connected(2, "w1", 5), connected(3, "w1", 7)),
				8, w1),
			"  grant 3 to w1 at 192.0.2.2:7844 expecting 103: region\n",
		},
		{"the other region failed on this host", with(world(connector(connected(0, "w1", 1), connected(1, "w1", 3)), 3, w1), func(w *World) {
			w.Connectors[0].Connections = 2
			w.Health = map[string]edgepool.Health{"h1": edgepool.Health{}.After(addrPort(2), tunnel.ReasonDial, w.Now)}
		}), ""},
		{"no spread while a slot is on the way", world(connector(connected(0, "w1", 1), connected(1, "w1", 3), connecting(2, "w1", 5),
			connected(3, "w1", 7)), 8, w1), ""},
	} {
		if got := describe(Plan(tt.world)); got != tt.want && got != tt.want+"  nothing\n" {
			t.Errorf("%s:\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestDrainGoesInTheOrderOfTheBudget: a worker's many slots move a few at a time, and all of them move.
func TestDrainGoesInTheOrderOfTheBudget(t *testing.T) {
	w := world(connector(all(20, "w1")...), 24, draining(worker("w1", "h1", tunnelA)), fleet.Worker{
		ID: "w2", Host: "h2", Capacity: 30, Tunnels: []fleet.TunnelRef{{ID: tunnelA}},
	})
	w.Connectors[0].Connections = 20
	for round := 0; ; round++ {
		r := Plan(w)
		if len(r.Actions) == 0 {
			break
		}
		if len(r.Actions) > lease.RegistrationBurst+waiting || round > 20 {
			t.Fatalf("round %d: %d slots move at once", round, len(r.Actions))
		}
		w.Connectors[0] = execute(w.Connectors[0], r)
	}
	for _, r := range w.Connectors[0].Records {
		if r.Worker != "w2" {
			t.Errorf("slot %d stayed with %s", r.Slot.Index, r.Worker)
		}
	}
}

func TestDoubtfulWorkers(t *testing.T) {
	candidates := []placement.Candidate{{ID: "w1", Capacity: 4, Own: 3, Load: 3}, {ID: "w2", Capacity: 4, Doubtful: true}}
	if id, ok := placement.Choose(candidates); id != "w1" || !ok {
		t.Errorf("Choose() = %s, %v, want w1", id, ok)
	}
	if id, ok := placement.Choose(candidates[1:]); id != "w2" || !ok {
		t.Errorf("Choose() of a doubtful one alone = %s, %v, want w2", id, ok)
	}
	if id, ok := placement.ChooseOther(candidates, "w1"); ok {
		t.Errorf("ChooseOther() = %s, want none", id)
	}
	if m, ok := placement.Rebalance(candidates); ok {
		t.Errorf("Rebalance() = %s, want none", fmt.Sprint(m))
	}
}

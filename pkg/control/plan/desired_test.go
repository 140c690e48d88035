package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// desire gives the connector of a world a document.
func desire(w World, spec desired.Spec) World {
	d := desired.Document{Spec: spec, Version: 500, PoolVersion: 500}
	w.Connectors[0].Desired = Follow([]Desired{w.Connectors[0].Desired}, map[tunnel.ID]desired.Document{tunnelA: d})[0]
	return w
}

func over(p tunnel.Protocol, records []lease.Record) []lease.Record {
	for i := range records {
		records[i].Status.Protocol = p
	}
	return records
}

func TestFollow(t *testing.T) {
	eu := "eu"
	base := Desired{Tunnel: tunnelA, Connections: 4, Pool: "us", Protocol: tunnel.QUIC}
	for _, tt := range []struct {
		spec desired.Spec
		want Desired
	}{
		{desired.Spec{}, base},
		{desired.Spec{Connections: 2}, Desired{Tunnel: tunnelA, Connections: 2, Pool: "us", Protocol: tunnel.QUIC}},
		{desired.Spec{Connections: 2, Paused: true}, Desired{Tunnel: tunnelA, Pool: "us", Protocol: tunnel.QUIC}},
		{desired.Spec{Protocol: "auto", Pool: &eu}, Desired{Tunnel: tunnelA, Connections: 4, Pool: "eu"}},
		{desired.Spec{Protocol: "http2"}, Desired{Tunnel: tunnelA, Connections: 4, Pool: "us", Protocol: tunnel.HTTP2}},
	} {
		d := desired.Document{Spec: tt.spec, Version: 1}
		got := Follow([]Desired{base}, map[tunnel.ID]desired.Document{tunnelA: d})[0]
		tt.want.Document = d
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.spec, diff)
		}
	}
}

func TestPlanFollowsDocuments(t *testing.T) {
	w1, w2 := worker("w1", "h1", tunnelA), worker("w2", "h2", tunnelA)
	other := "other"
	pools := func(w World) World {
		p := pool(12)
		for i := range p.Regions {
			p.Regions[i].V4 = p.Regions[i].V4[4:] // 9 to 12
		}
		w.Pools[other] = p
		return w
	}
	for _, tt := range []struct {
		name  string
		world World
		want  string
	}{
		{
			"more connections", desire(world(connector(all(4, "w1")...), 8, w1), desired.Spec{Connections: 5}),
			"  grant 4 to w1 at 192.0.2.5:7844 expecting 0: free\n",
		},
		{
			"fewer connections: the highest go", desire(world(connector(all(4, "w1")...), 8, w1), desired.Spec{Connections: 2}),
			"  release 2 from w1 epoch 102: unwanted\n  release 3 from w1 epoch 103: unwanted\n",
		},
		{
			"fewer connections: one stays while no desired one is connected",
			desire(world(connector(connecting(0, "w1", 1), connected(1, "w1", 2), connected(2, "w1", 3)), 8, w1), desired.Spec{Connections: 1}),
			"  release 2 from w1 epoch 102: unwanted\n",
		},
		{
			"a paused tunnel gives everything back", desire(world(connector(all(2, "w1")...), 8, w1), desired.Spec{Paused: true}),
			"  release 0 from w1 epoch 100: paused\n  release 1 from w1 epoch 101: paused\n",
		},
		{"nothing of a paused tunnel is granted", desire(world(connector(), 8, w1), desired.Spec{Paused: true}), "  nothing\n"},
		{
			"weight 0 moves connections away, one after the other",
			desire(world(connector(all(2, "w1")...), 8, w1, w2), desired.Spec{Connections: 2, Weights: map[string]int{"host/h1": 0}}),
			"  grant 0 to w2 at 192.0.2.3:7844 expecting 100: weight\n  grant 1 to w2 at 192.0.2.4:7844 expecting 101: weight\n",
		},
		{
			"weight 0 of the only worker leaves it what it has",
			desire(world(connector(all(4, "w1")...), 8, w1), desired.Spec{Weights: map[string]int{"w1": 0}}), "  nothing\n",
		},
		{"three to one is in balance", desire(world(connector(all(4, "w1", "w1", "w1", "w2")...), 8, w1, w2),
			desired.Spec{Weights: map[string]int{"w1": 3}}), "  nothing\n"},
		{
			"and two to two is not", desire(world(connector(all(4, "w1", "w2")...), 8, w1, w2), desired.Spec{Weights: map[string]int{"w1": 3}}),
			"  grant 3 to w1 at 192.0.2.6:7844 expecting 103: rebalance\n",
		},
		{"another protocol: one after the other", desire(world(connector(over(tunnel.QUIC, all(4, "w1"))...), 8, w1),
			desired.Spec{Protocol: "http2"}), "  grant 0 to w1 at 192.0.2.5:7844 expecting 100: protocol\n"},
		{"the protocol that is in use", desire(world(connector(over(tunnel.QUIC, all(4, "w1"))...), 8, w1),
			desired.Spec{Protocol: "quic"}), "  nothing\n"},
		{
			"another pool: one after the other", pools(desire(world(connector(all(4, "w1")...), 8, w1), desired.Spec{Pool: &other})),
			"  grant 0 to w1 at 192.0.2.9:7844 expecting 100: pool\n",
		},
		{
			"a pool that does not exist keeps the connections", desire(world(connector(all(4, "w1")...), 8, w1), desired.Spec{Pool: &other}),
			"  shortage: 0 of 4 with 0 addresses\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(Plan(tt.world)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestDocumentsConverge: whatever is desired, the plans end, and what they end with is what was desired.
func TestDocumentsConverge(t *testing.T) {
	w1, w2 := worker("w1", "h1", tunnelA), worker("w2", "h2", tunnelA)
	w := desire(world(connector(over(tunnel.QUIC, all(4, "w1", "w2"))...), 10, w1, w2),
		desired.Spec{Connections: 6, Protocol: "http2", Weights: map[string]int{"w2": 2}})
	for step := 0; ; step++ {
		r := Plan(w)
		if len(r.Actions) == 0 {
			break
		}
		if step > 40 {
			t.Fatalf("no end: %s", describe(r))
		}
		w.Connectors[0] = execute(w.Connectors[0], r)
		w.Connectors[0].Records = over("", w.Connectors[0].Records)
		for i, r := range w.Connectors[0].Records {
			w.Connectors[0].Records[i].Status.Protocol = r.Protocol
		}
	}
	held := map[tunnel.WorkerID]int{}
	for _, r := range w.Connectors[0].Records {
		held[r.Worker]++
		if r.Protocol != tunnel.HTTP2 {
			t.Errorf("slot %d is over %s", r.Slot.Index, r.Protocol)
		}
	}
	if held["w1"] != 2 || held["w2"] != 4 {
		t.Errorf("held: %v, want 2 and 4", held)
	}
}

func move(index tunnel.ConnIndex, epoch tunnel.Epoch) desired.Command {
	return desired.Command{ID: "c1", Kind: desired.Move, Tunnel: tunnelA, Index: index, Epoch: epoch}
}

func order(w World, list ...desired.Command) World {
	for _, c := range list {
		w.Commands = append(w.Commands, desired.Status{Command: c})
	}
	return w
}

// outcome adds the reconnects and the answers to a description.
func outcome(r Result) string {
	var out strings.Builder
	for _, a := range r.Actions {
		if a, ok := a.(Reconnect); ok {
			fmt.Fprintf(&out, "  reconnect %d at %s epoch %d\n", a.Slot.Index, a.Worker, a.Epoch)
		}
	}
	for _, a := range r.Answers {
		fmt.Fprintf(&out, "  %s %s: %s\n", a.Command, a.Outcome, a.Detail)
	}
	if text := describe(r); text != "  nothing\n" || out.Len() == 0 {
		return text + out.String()
	}
	return out.String()
}

func TestCommands(t *testing.T) {
	w1, w2 := worker("w1", "h1", tunnelA), worker("w2", "h2", tunnelA)
	four := func(workers ...fleet.Worker) World { return world(connector(all(4, "w1", "w2")...), 8, workers...) }
	reconnect := move(2, 102)
	reconnect.Kind = desired.Reconnect
	to := func(worker tunnel.WorkerID, at int) desired.Command {
		c := move(2, 102)
		c.Worker = worker
		if at > 0 {
			c.Edge = addrPort(at)
		}
		return c
	}
	changed := func(change func(w *World)) World { w := four(w1, w2); change(&w); return w }
	full := w2
	full.Capacity = 2
	for _, tt := range []struct {
		name  string
		world World
		want  string
	}{
		{
			"a move goes to another worker and another address", order(four(w1, w2), move(2, 102)),
			"  grant 2 to w2 at 192.0.2.5:7844 expecting 102: command\n",
		},
		{
			"with one worker to another address", order(world(connector(all(4, "w1")...), 8, w1), move(2, 102)),
			"  grant 2 to w1 at 192.0.2.5:7844 expecting 102: command\n",
		},
		{"as it says", order(four(w1, w2), to("w1", 7)), "  grant 2 to w1 at 192.0.2.7:7844 expecting 102: command\n"},
		{"another epoch", order(four(w1, w2), move(2, 101)), "  c1 refused: slot 2 has epoch 102 by now, the command is for 101\n"},
		{"no such slot", order(four(w1, w2), move(9, 102)), "  c1 refused: the tunnel shall have 4 connections, so there is no slot 9\n"},
		{"no such worker", order(four(w1, w2), to("w9", 0)), "  c1 refused: no worker w9 is registered\n"},
		{"a worker of others", order(four(w1, w2, worker("w3", "h3")), to("w3", 0)), "  c1 refused: worker w3 does not serve the tunnel\n"},
		{"a full worker", order(four(w1, full), to("w2", 0)), "  c1 refused: worker w2 has no room: it holds 2 of 2\n"},
		{"no such address", order(four(w1, w2), to("w2", 99)), "  c1 refused: the edge pool does not have 192.0.2.99:7844\n"},
		{"an address in use", order(four(w1, w2), to("w2", 1)), "  c1 refused: slot 0 uses 192.0.2.1:7844\n"},
		{
			"its own address", order(four(w1, w2), to("w2", 3)),
			"  c1 refused: the connection is at 192.0.2.3:7844 now: a move needs another address\n",
		},
		{
			"no address is free", order(world(connector(all(4, "w1", "w2")...), 4, w1, w2), move(2, 102)),
			"  c1 refused: no other edge address is free\n",
		},
		{
			"two for one slot: the second waits", order(four(w1, w2), move(2, 102), move(2, 102)),
			"  grant 2 to w2 at 192.0.2.5:7844 expecting 102: command\n",
		},
		{"of another tunnel", order(four(w1, w2), desired.Command{Kind: desired.Move, Tunnel: tunnel.ID{9}}), "  nothing\n"},
		{"while records may be of the past", order(unsettled(four(w1, w2)), move(2, 102)), "  nothing\n"},
		{
			"carried out by a supervisor that ended", order(changed(func(w *World) { w.Connectors[0].Records[2].Command = "c1" }), move(2, 5)),
			"  c1 done: slot 2 has epoch 102 at worker w1\n",
		},
		{"a reconnect that its holder may not know", order(changed(func(w *World) {
			w.Connectors[0].Records[2].Reconnect, w.Connectors[0].Records[2].Status.State = "c1", lease.StateConnecting
		}), reconnect), "  reconnect 2 at w1 epoch 102\n"},
		{"a reconnect", order(four(w1, w2), reconnect), "  reconnect 2 at w1 epoch 102\n"},
		{"no faster than registrations", order(changed(func(w *World) {
			w.Rushed = map[tunnel.ID]bool{tunnelA: true}
		}), reconnect), "  nothing\n"},
		{
			"a reconnect of what is not connected", order(changed(func(w *World) {
				w.Connectors[0].Records[2].Status.State = lease.StateFailed
			}), reconnect),
			"  c1 refused: the connection of slot 2 is not registered: it is failed\n",
		},
		{
			"nobody holds it", order(changed(func(w *World) { w.Connectors[0].Records[2] = released(w.Connectors[0].Records[2]) }), reconnect),
			"  grant 2 to w1 at 192.0.2.3:7844 expecting 102: free\n  c1 refused: nobody holds slot 2\n",
		},
		{
			"it cannot be read", order(changed(func(w *World) { w.Connectors[0].Damaged = []tunnel.ConnIndex{2} }), reconnect),
			"  c1 refused: the record of slot 2 cannot be read\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(Plan(tt.world)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

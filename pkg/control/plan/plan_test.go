package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var update = flag.Bool("update", false, "rewrite the golden file")

var (
	tunnelA = tunnel.ID{0xa}
	tunnelB = tunnel.ID{0xb}
)

func addrPort(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844)
}

// edge n is in region 1 when n is odd.
func edge(n int) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{Addr: addrPort(n), Region: tunnel.Region(fmt.Sprint("region", 2-n%2))}
}

func pool(n int) edgepool.Pool {
	p := edgepool.Pool{Version: 1, Regions: []edgepool.RegionPool{{Name: "region1"}, {Name: "region2"}}}
	for i := 1; i <= n; i++ {
		r := &p.Regions[1-i%2]
		r.V4 = append(r.V4, addrPort(i))
	}
	return p
}

func first(int) int { return 0 }

func worker(id tunnel.WorkerID, host string, tunnels ...tunnel.ID) fleet.Worker {
	w := fleet.Worker{ID: id, Host: host, Capacity: 10}
	for _, t := range tunnels {
		w.Tunnels = append(w.Tunnels, fleet.TunnelRef{ID: t})
	}
	return w
}

func draining(w fleet.Worker) fleet.Worker {
	w.Draining = true
	return w
}

func record(index tunnel.ConnIndex, worker tunnel.WorkerID, at int, s lease.Status) lease.Record {
	r := lease.Record{Status: s, Live: true}
	r.Slot = tunnel.Slot{Tunnel: tunnelA, Index: index}
	r.Worker, r.Epoch, r.Edge, r.Protocol = worker, tunnel.Epoch(100+index), edge(at), tunnel.QUIC
	return r
}

func connected(index tunnel.ConnIndex, worker tunnel.WorkerID, at int) lease.Record {
	return record(index, worker, at, lease.Status{State: lease.StateConnected})
}

func failed(index tunnel.ConnIndex, worker tunnel.WorkerID, at int, why tunnel.Reason, retries int) lease.Record {
	return record(index, worker, at, lease.Status{State: lease.StateFailed, Reason: why, Retries: retries})
}

func expired(r lease.Record) lease.Record {
	r.Live = false
	return r
}

func released(r lease.Record) lease.Record {
	r.Live, r.Worker, r.Status = false, "", lease.Status{}
	return r
}

// preferring makes all slots but the first prefer QUIC.
func preferring(records []lease.Record) []lease.Record {
	for i := range records[1:] {
		records[i+1].Status.Protocol, records[i+1].Status.Prefers = tunnel.HTTP2, tunnel.QUIC
	}
	return records
}

// all is n slots, connected, slot i on address i+1, spread over the workers in turn.
func all(n int, workers ...tunnel.WorkerID) []lease.Record {
	var out []lease.Record
	for i := range n {
		out = append(out, connected(tunnel.ConnIndex(i), workers[i%len(workers)], i+1))
	}
	return out
}

func connector(records ...lease.Record) Connector {
	return Connector{
		Desired: Desired{Tunnel: tunnelA, Connections: 4, Protocol: tunnel.QUIC},
		Records: records,
		Proved:  len(records) > 0,
	}
}

func world(c Connector, addresses int, workers ...fleet.Worker) World {
	return World{Workers: workers, Pools: map[string]edgepool.Pool{"": pool(addresses)}, Connectors: []Connector{c}, Random: first}
}

func blind(w fleet.Worker) fleet.Worker {
	w.Capacity = 0
	return w
}

func unsettled(w World) World {
	w.Unsettled = true
	return w
}

func describe(r Result) string {
	var out strings.Builder
	for _, a := range r.Actions {
		switch a := a.(type) {
		case Grant:
			fmt.Fprintf(&out, "  grant %d to %s at %s expecting %d: %s\n", a.Slot.Index, a.Worker, a.Edge, a.Expect, a.Cause)
		case Release:
			fmt.Fprintf(&out, "  release %d from %s epoch %d: %s\n", a.Slot.Index, a.Worker, a.Epoch, a.Cause)
		}
	}
	for _, s := range r.Shortages {
		fmt.Fprintf(&out, "  shortage: %d of %d with %d addresses\n", s.Possible, s.Desired, s.Addresses)
	}
	if out.Len() == 0 {
		return "  nothing\n"
	}
	return out.String()
}

func TestPlan(t *testing.T) {
	w1, w2, w3 := worker("w1", "h1", tunnelA), worker("w2", "h1", tunnelA), worker("w3", "h2", tunnelA)
	proved := connector()
	proved.Proved = true
	fewer := connector(all(4, "w1", "w2")...)
	fewer.Connections = 2
	elsewhere := connected(0, "w1", 1)
	elsewhere.Status.Edge = edge(6)
	six := connector(all(4, "w1")...)
	six.Family = edgepool.V6
	tests := []struct {
		name  string
		world World
	}{
		{"no worker", world(connector(), 8)},
		{"no address", world(connector(), 0, w1)},
		{"the gate is closed: index 0 only", world(connector(), 8, w1, w3)},
		{"the gate stays closed while index 0 is on its way", world(Connector{
			Desired: connector().Desired, Records: []lease.Record{record(0, "w1", 1, lease.Status{State: lease.StateConnecting})},
		}, 8, w1)},
		{"the gate is open", world(proved, 8, w1)},
		{"spread over workers and hosts", world(proved, 8, w1, w2, w3)},
		{"index 0 connected opens the gate", world(Connector{
			Desired: connector().Desired, Records: []lease.Record{connected(0, "w1", 1)},
		}, 8, w1, w2)},
		{"as many connections as addresses", world(proved, 4, w1)},
		{"a single address is used", world(proved, 1, w1)},
		{"all is well", world(connector(all(4, "w1", "w2")...), 8, w1, w2)},
		{"a worker is gone", world(connector(all(4, "w1", "w2")...), 8, w2, w3)},
		{"a worker is gone, one spare address", world(connector(all(4, "w1", "w2")...), 5, w2)},
		{"a worker drains", world(connector(all(4, "w1", "w2")...), 8, draining(w1), w2, w3)},
		{"a worker drains and is alone", world(connector(all(4, "w1")...), 8, draining(w1))},
		{"a worker drains, no spare address", world(connector(all(4, "w1")...), 4, draining(w1), w2)},
		{"a worker is gone, but the store is only just back", unsettled(world(connector(all(4, "w1", "w2")...), 8, w2, w3))},
		{
			"a lease ran out, but the store is only just back",
			unsettled(world(connector(append(all(3, "w1"), expired(connected(3, "w1", 4)))...), 8, w1, w2)),
		},
		{
			"a slot is free, and the store is only just back",
			unsettled(world(connector(append(all(3, "w1"), released(connected(3, "w1", 4)))...), 8, w1)),
		},
		{"a worker has no capacity any more", world(connector(all(4, "w1", "w2")...), 8, blind(w1), w2)},
		{"a worker has no capacity any more and is alone", world(connector(all(4, "w1")...), 8, blind(w1))},
		{"two drain, one stays", world(connector(all(4, "w1", "w2", "w3")...), 8, draining(w1), draining(w2), w3)},
		{
			"a slot that was not connected moves off a draining worker without a spare address",
			world(connector(record(0, "w1", 1, lease.Status{State: lease.StateConnecting})), 1, draining(w1), w2),
		},
		{"a lease ran out, its worker lives", world(connector(append(all(3, "w1"), expired(connected(3, "w1", 4)))...), 8, w1, w2)},
		{"a lease ran out, its worker drains", world(connector(expired(connected(0, "w1", 1))), 8, draining(w1), w2)},
		{"a lease ran out and its address is taken", world(connector(
			connected(0, "w1", 2), expired(connected(1, "w1", 2)), connected(2, "w1", 3), connected(3, "w1", 4)), 8, w1)},
		{"a slot was released", world(connector(append(all(3, "w1"), released(connected(3, "w1", 4)))...), 8, w1)},
		{"fewer are wanted", world(fewer, 8, w1, w2)},
		{
			"a dial failed: other address, same worker",
			world(connector(failed(0, "w1", 1, tunnel.ReasonDial, 1), connected(1, "w2", 2)), 8, w1, w2),
		},
		{
			"dials failed three times: other worker",
			world(connector(failed(0, "w1", 1, tunnel.ReasonDial, 3), connected(1, "w2", 2)), 8, w1, w2),
		},
		{
			"dials failed three times and the worker is alone",
			world(connector(failed(0, "w1", 1, tunnel.ReasonTLS, 4), connected(1, "w1", 2)), 8, w1),
		},
		{"one address, it fails, nobody else", world(connector(failed(0, "w1", 1, tunnel.ReasonDial, 5)), 1, w1)},
		{"a session went silent", world(connector(failed(0, "w1", 1, tunnel.ReasonIdle, 1), connected(1, "w1", 2)), 8, w1)},
		{
			"a duplicate does not count against the worker",
			world(connector(failed(0, "w1", 1, tunnel.ReasonDuplicate, 7), connected(1, "w2", 2)), 8, w1, w2),
		},
		{
			"no other address for a duplicate",
			world(connector(failed(0, "w1", 1, tunnel.ReasonDuplicate, 1), connected(1, "w1", 2)), 2, w1),
		},
		{"a registration broke", world(connector(failed(0, "w1", 1, tunnel.ReasonRPC, 1)), 2, w1)},
		{"registrations break on the address", world(connector(failed(0, "w1", 1, tunnel.ReasonRPC, 3)), 2, w1)},
		{"the edge closed a session: left to the worker", world(connector(failed(0, "w1", 1, tunnel.ReasonPeerClosed, 2)), 2, w1, w2)},
		{"the edge closes all sessions of a worker", world(connector(failed(0, "w1", 1, tunnel.ReasonPeerClosed, 5)), 2, w1, w2)},
		{"refused for now or for good: left alone", world(connector(
			failed(0, "w1", 1, tunnel.ReasonRefused, 9),
			record(1, "w1", 2, lease.Status{State: lease.StateRefused, Reason: tunnel.ReasonRefused, Retries: 9}),
			connected(2, "w2", 3), connected(3, "w2", 4),
		), 8, w1, w2)},
		{"a slot drains although it is wanted", world(connector(
			record(0, "w1", 1, lease.Status{State: lease.StateDraining}), connected(1, "w1", 2), connected(2, "w1", 3), connected(3, "w1", 4),
		), 8, w1)},
		{"the holder chose another address", world(connector(elsewhere, connected(1, "w1", 2), connected(2, "w1", 3)), 7, w1)},
		{"a worker joins", world(connector(all(4, "w1")...), 8, w1, w2)},
		{
			"a worker joins, a slot is not connected",
			world(connector(append(all(3, "w1"), record(3, "w1", 4, lease.Status{State: lease.StateConnecting}))...), 8, w1, w2),
		},
		{"a worker joins, no spare address", world(connector(all(4, "w1")...), 4, w1, w2)},
		{"the other family", world(six, 8, w1)},
		{"workers prefer another protocol: one slot at a time", world(connector(preferring(all(4, "w1"))...), 8, w1)},
		{"another protocol, no spare address", world(connector(preferring(all(4, "w1"))...), 4, w1)},
		{
			"another protocol, a slot is not connected",
			world(connector(append(preferring(all(3, "w1")), failed(3, "w1", 4, tunnel.ReasonPeerClosed, 1))...), 8, w1),
		},
		{"another protocol, but the store is only just back", unsettled(world(connector(preferring(all(4, "w1"))...), 8, w1))},
	}
	var out strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&out, "%s\n%s", tt.name, describe(Plan(tt.world)))
	}
	const path = "testdata/plan.golden"
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("plans differ (-want +got):\n%s", diff)
	}
}

func TestWanted(t *testing.T) {
	w1 := fleet.Worker{ID: "w1", Tunnels: []fleet.TunnelRef{{ID: tunnelB, Pool: "other", IPVersion: "4", Protocol: tunnel.HTTP2}}}
	w1.Tunnels = append(w1.Tunnels, fleet.TunnelRef{ID: tunnelA, IPVersion: "7"})
	w2 := fleet.Worker{ID: "w2", Tunnels: []fleet.TunnelRef{
		{ID: tunnelB, Connections: 6, Protocol: tunnel.QUIC}, {ID: tunnelA, Connections: 1, Protocol: tunnel.HTTP2},
	}}
	want := []Desired{
		{Tunnel: tunnelA, Connections: 4},
		{Tunnel: tunnelB, Connections: 6, Pool: "other", Family: edgepool.V4, Protocol: tunnel.HTTP2},
	}
	if diff := cmp.Diff(want, Wanted([]fleet.Worker{w2, w1}, 4)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPlansConverge executes plans on a small model until nothing changes, whatever the start, and checks what must
// hold after each: no address twice, no worker that is closed or unknown, no more than desired.
func TestPlansConverge(t *testing.T) {
	w1, w2, w3 := worker("w1", "h1", tunnelA), worker("w2", "h2", tunnelA), worker("w3", "h3", tunnelA)
	starts := map[string]World{
		"from nothing":   world(connector(), 8, w1, w2, w3),
		"one joins":      world(connector(all(4, "w1")...), 8, w1, w2),
		"one of three":   world(connector(all(4, "w1", "w2", "w3")...), 8, w2, w3),
		"rolling":        world(connector(all(4, "w1", "w2", "w3")...), 8, draining(w1), w2, w3),
		"spare is tight": world(connector(all(4, "w1")...), 5, w1, w2, w3),
	}
	for name, w := range starts {
		t.Run(name, func(t *testing.T) {
			for step := 0; ; step++ {
				if step > 30 {
					t.Fatalf("no end: %s", describe(Plan(w)))
				}
				r := Plan(w)
				if len(r.Actions) == 0 {
					break
				}
				w.Connectors[0] = execute(w.Connectors[0], r)
			}
			check(t, w)
		})
	}
}

// execute makes every grant succeed and connect.
func execute(c Connector, r Result) Connector {
	byIndex := map[tunnel.ConnIndex]lease.Record{}
	for _, old := range c.Records {
		byIndex[old.Slot.Index] = old
	}
	for _, a := range r.Actions {
		g, ok := a.(Grant)
		if !ok {
			continue
		}
		g.Epoch = g.Expect + 1
		byIndex[g.Slot.Index] = lease.Record{Grant: g.Grant, Live: true, Status: lease.Status{State: lease.StateConnected}}
	}
	c.Records = nil
	for i := range 256 {
		if r, ok := byIndex[tunnel.ConnIndex(i)]; ok {
			c.Records = append(c.Records, r)
		}
	}
	return c
}

func check(t *testing.T, w World) {
	t.Helper()
	c := w.Connectors[0]
	if len(c.Records) != c.Connections {
		t.Errorf("%d records, want %d", len(c.Records), c.Connections)
	}
	seen := map[tunnel.EdgeAddr]bool{}
	held := map[tunnel.WorkerID]int{}
	for _, r := range c.Records {
		if seen[r.Edge] {
			t.Errorf("address %s twice", r.Edge)
		}
		seen[r.Edge] = true
		held[r.Worker]++
	}
	for _, w := range w.Workers {
		if w.Draining && held[w.ID] > 0 {
			t.Errorf("draining worker %s holds %d", w.ID, held[w.ID])
		}
		for _, other := range others(w.ID, held) {
			if held[w.ID]-other >= 2 && !w.Draining {
				t.Errorf("held: %v", held)
			}
		}
	}
}

// others lists how many slots the others hold.
func others(id tunnel.WorkerID, held map[tunnel.WorkerID]int) []int {
	var out []int
	for other, n := range held {
		if other != id {
			out = append(out, n)
		}
	}
	return out
}

// TestPlanRemembersDeadAddresses: a slot whose second address fails does not go back to the first one that failed while another is free,
// but a worker on another host may use it.
func TestPlanRemembersDeadAddresses(t *testing.T) {
	now := time.Unix(1000, 0)
	dead := edgepool.Health{}.After(addrPort(1), tunnel.ReasonDial, now)
	for name, c := range map[string]struct {
		host string
		want tunnel.EdgeAddr
	}{"on this host": {"a", edge(3)}, "on another host": {"b", edge(1)}} {
		w := world(connector(failed(0, "w1", 2, tunnel.ReasonDial, 2)), 3, worker("w1", "a", tunnelA))
		w.Now, w.Health = now.Add(time.Second), map[string]edgepool.Health{c.host: dead}
		plan := Plan(w)
		if g, ok := plan.Actions[0].(Grant); !ok || g.Edge != c.want {
			t.Errorf("%s: %s, want a grant at %s", name, describe(plan), c.want)
		}
	}
}

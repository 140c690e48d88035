package memstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// day is a day of the server's clock, which counts microseconds.
const day = int64(24 * time.Hour / time.Microsecond)

// has counts the keys of a tunnel.
func has(s *memstore.Store, id tunnel.ID) int {
	n := 0
	for _, c := range s.Contents() {
		if strings.Contains(c.Key, id.String()) {
			n++
		}
	}
	return n
}

// TestKeysOfGoneTunnels: the keys of a tunnel stay as long as a supervisor or a worker reads them now and then, and end 30 days after the
// last one did. A worker that was stopped for longer and still has its session gets its slot back, under its epoch, and the next one is
// above it.
func TestKeysOfGoneTunnels(t *testing.T) {
	s := memstore.New(start)
	kept, gone, connector := tunnel.ID{1}, tunnel.ID{9}, tunnel.ConnectorID{2}
	look := func(id tunnel.ID) lease.Table {
		t.Helper()
		must(t, s, command.Connector(id), nil)
		return must(t, s, command.SlotsUnder(7, id, connector), nil)
	}
	granted := map[tunnel.ID]lease.Grant{}
	for _, id := range []tunnel.ID{kept, gone} {
		must(t, s, command.OfferConnector(id, connector), nil)
		look(id)
		g := lease.Grant{
			Slot: tunnel.Slot{Tunnel: id, Connector: connector}, Worker: "w", Instance: "a", Edge: edgeOf(1),
		}
		r, err := command.GrantUnder(7, g, 0, lease.LeaseTTL)
		granted[id] = must(t, s, r, err)
	}
	all := has(s, kept)
	for range 9 {
		s.SetNow(s.Now() + 5*day)
		if got := look(kept); len(got.Records) != 1 || got.Records[0].Epoch != granted[kept].Epoch {
			t.Fatalf("after some days: %+v, want the epoch %d", got, granted[kept].Epoch)
		}
	}
	if got := has(s, kept); got != all-1 { // less the bucket
		t.Errorf("%d keys of the tunnel that is read, want %d", got, all-1)
	}
	if got := has(s, gone); got != 0 {
		t.Errorf("%d keys of the tunnel that nobody reads: %v", got, s.Contents())
	}
	g := granted[gone]
	report := lease.Report{Epoch: g.Epoch, Edge: g.Edge, Status: lease.Status{State: lease.StateConnected}}
	r, err := command.Report(gone, connector, "w", "a", []lease.Report{report})
	if got := must(t, s, r, err); got.Claimed != 1 || len(got.Records) != 1 || got.Records[0].Epoch != g.Epoch {
		t.Errorf("the report of a worker that was away: %+v, want that it claims its slot under epoch %d", got, g.Epoch)
	}
	next, err := command.GrantUnder(7, g, g.Epoch, lease.LeaseTTL)
	if got := must(t, s, next, err); got.Epoch <= g.Epoch {
		t.Errorf("the next epoch is %d, want it above %d", got.Epoch, g.Epoch)
	}
}

// TestDesiredStateThatIsGone: a document that desires nothing, and a mark that was taken back, are removed by a change 30 days later. A
// document and a mark in force stay.
func TestDesiredStateThatIsGone(t *testing.T) {
	s := memstore.New(start)
	set := func(id byte, spec desired.Spec) {
		t.Helper()
		read := must(t, s, command.Desired(0), nil)
		r, err := command.SetDesired(tunnel.ID{id}, read.Tunnels[tunnel.ID{id}].Version, spec, "ann", false)
		must(t, s, r, err)
	}
	drain := func(id tunnel.WorkerID, expect uint64, drained bool) uint64 {
		t.Helper()
		r, err := command.SetDrained(id, expect, drained, "ann")
		return must(t, s, r, err)
	}
	set(1, desired.Spec{Paused: true})
	set(2, desired.Spec{Paused: true})
	set(2, desired.Spec{})
	drain("w1", 0, true)
	drain("w2", drain("w2", 0, true), false)
	known := must(t, s, command.Desired(0), nil).State
	s.SetNow(s.Now() + 31*day)
	set(3, desired.Spec{Connections: 2})
	read := must(t, s, command.Desired(0), nil)
	if len(read.Tunnels) != 2 || len(read.Workers) != 1 || !read.Tunnels[tunnel.ID{1}].Paused || !read.Workers["w1"].Drained {
		t.Errorf("after 31 days: %+v, want tunnels 1 and 3, and worker w1", read.State)
	}
	// A supervisor that knew them does not take them for lost.
	if merged, lost := known.Merge(read.State); !lost.Empty() || len(merged.Tunnels) != 2 || len(merged.Workers) != 1 {
		t.Errorf("a supervisor misses %+v, and follows %+v", lost, merged)
	}
}

package storetest

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// claim is a report that carries the whole grant.
func claim(g lease.Grant, state lease.State) lease.Report {
	return lease.Report{Index: g.Slot.Index, Epoch: g.Epoch, Edge: g.Edge, Protocol: g.Protocol, Status: lease.Status{State: state}}
}

// lostGrant is a grant that the store does not know.
func lostGrant(slot tunnel.Slot, worker string, edge int, epoch tunnel.Epoch) lease.Grant {
	g := grantTo(slot, worker, edge)
	g.Epoch = epoch
	return g
}

func holds(t *testing.T, r lease.Record, worker string, epoch tunnel.Epoch) {
	t.Helper()
	if string(r.Worker) != worker || r.Epoch != epoch || !r.Live {
		t.Errorf("got %+v, live %v, want epoch %d of %s", r.Grant, r.Live, epoch, worker)
	}
}

// testClaims: a report with a higher epoch than the store knows takes the slot; the store lost that grant.
func testClaims(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	t.Run("unknown slot", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		g := lostGrant(slot, "w1", 1, 7)
		table, err := s.Renew(t.Context(), slot.Tunnel, slot.Connector, "w1", []lease.Report{claim(g, lease.StateConnected)}, long)
		if err != nil || table.Claimed != 1 {
			t.Fatalf("Renew: %d claims, %v, want 1", table.Claimed, err)
		}
		got := only(t, table.Records)
		holds(t, got, "w1", 7)
		if got.Edge != g.Edge || got.Protocol != g.Protocol || got.Status.State != lease.StateConnected {
			t.Errorf("record %+v, want what was reported", got)
		}
		if proved, err := s.Proved(t.Context(), slot.Tunnel, slot.Connector); err != nil || !proved {
			t.Errorf("the claim of a connected slot does not prove the path: %v, %v", proved, err)
		}
		again := only(t, renew(t, s, slot, "w1", report(g, lease.Status{State: lease.StateConnected})))
		holds(t, again, "w1", 7)
		if next := mustGrant(t, s, grantTo(slot, "w2", 2), 7, long); next.Epoch <= 7 {
			t.Errorf("epoch %d after the claim", next.Epoch)
		}
	})
	t.Run("two epochs", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		low, high := lostGrant(slot, "w1", 1, 7), lostGrant(slot, "w2", 2, 9)
		renew(t, s, slot, "w1", claim(low, lease.StateConnected))
		holds(t, only(t, renew(t, s, slot, "w2", claim(high, lease.StateConnecting))), "w2", 9)
		holds(t, only(t, renew(t, s, slot, "w1", claim(low, lease.StateConnected))), "w2", 9)
	})
	t.Run("equal epochs", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		one, two := lostGrant(slot, "w1", 1, 7), lostGrant(slot, "w2", 2, 7)
		renew(t, s, slot, "w1", claim(one, lease.StateConnecting))
		holds(t, only(t, renew(t, s, slot, "w2", claim(two, lease.StateConnecting))), "w1", 7)
		holds(t, only(t, renew(t, s, slot, "w2", claim(two, lease.StateConnected))), "w2", 7)
		holds(t, only(t, renew(t, s, slot, "w1", claim(one, lease.StateConnected))), "w2", 7)
	})
}

// testRefusedClaims: what a report cannot take, and what stays of a former holder.
func testRefusedClaims(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	t.Run("released", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		g := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
		if err := s.Release(t.Context(), slot, "w1", g.Epoch); err != nil {
			t.Fatal(err)
		}
		if only(t, renew(t, s, slot, "w1", claim(g, lease.StateConnected))).Live {
			t.Error("a report took a slot back that was released")
		}
	})
	t.Run("address", func(t *testing.T) {
		slots := newSlots(t, 2)
		mustGrant(t, s, grantTo(slots[0], "w1", 1), 0, long)
		records := renew(t, s, slots[0], "w2", claim(lostGrant(slots[1], "w2", 1, 7), lease.StateConnected))
		only(t, records) // the other slot has the address
		records = renew(t, s, slots[0], "w2", claim(lostGrant(slots[1], "w2", 2, 7), lease.StateConnected))
		holds(t, records[1], "w2", 7)
	})
	t.Run("no address", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		g := lostGrant(slot, "w1", 1, 7)
		if got := renew(t, s, slot, "w1", report(g, lease.Status{State: lease.StateConnected})); len(got) != 0 {
			t.Errorf("a report without an address made %+v", got)
		}
	})
	t.Run("wait of the edge", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		g := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
		r := claim(g, lease.StateFailed)
		r.Away = time.Minute
		renew(t, s, slot, "w1", r)
		next := mustGrant(t, s, grantTo(slot, "w2", 2), g.Epoch, long)
		if got := only(t, slotsOf(t, s, slot)).Wait; got < 50*time.Second || got > time.Minute {
			t.Errorf("wait of the next holder: %v, want what is left of the minute", got)
		}
		if got := only(t, renew(t, s, slot, "w2", claim(next, lease.StateConnected))).Wait; got > 0 {
			t.Errorf("wait after a connection: %v", got)
		}
	})
}

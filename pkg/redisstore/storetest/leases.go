package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func testGrant(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	t.Run("record", func(t *testing.T) { grantRecord(t, s) })
	t.Run("epoch", func(t *testing.T) { grantEpoch(t, s) })
	t.Run("address", func(t *testing.T) { grantAddress(t, s) })
	t.Run("bucket", func(t *testing.T) { grantBucket(t, s) })
	t.Run("fence", func(t *testing.T) { grantFence(t, s) })
}

func grantRecord(t *testing.T, s *redisstore.Store) {
	slot := newSlots(t, 1)[0]
	if got := slotsOf(t, s, slot); len(got) != 0 {
		t.Fatalf("Slots of a fresh connector: got %+v, want none", got)
	}
	want := grantTo(slot, "w1", 1)
	granted := mustGrant(t, s, want, 0, long)
	if granted.Epoch == 0 || granted.Wait != 0 {
		t.Errorf("Grant: got epoch %d, wait %v, want an epoch and no wait", granted.Epoch, granted.Wait)
	}
	want.Epoch = granted.Epoch
	got := only(t, slotsOf(t, s, slot))
	if got.Age < 0 || got.Wait > 0 {
		t.Errorf("record: got age %v, wait %v", got.Age, got.Wait)
	}
	got.Age, got.Wait = 0, 0
	wantRecord := lease.Record{Grant: want, Status: lease.Status{State: lease.StateGranted}, Live: true}
	if got != wantRecord {
		t.Errorf("record: got %+v, want %+v", got, wantRecord)
	}
}

func grantEpoch(t *testing.T, s *redisstore.Store) {
	slot := newSlots(t, 1)[0]
	first := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
	for _, stale := range []tunnel.Epoch{0, first.Epoch - 1, first.Epoch + 1} {
		_, err := s.Grant(t.Context(), grantTo(slot, "w2", 2), stale, long)
		wantError(t, "Grant with another epoch", err, tunnel.ErrConflict)
	}
	last := first
	for range 20 {
		next := mustGrant(t, s, grantTo(slot, "w2", 1), last.Epoch, long)
		if next.Epoch <= last.Epoch {
			t.Fatalf("epoch %d after %d, want it to grow", next.Epoch, last.Epoch)
		}
		last = next
	}
	// A store that lost grants, and whose clock went back, has neither the epoch nor the time: what the caller has seen counts.
	again := grantTo(slot, "w1", 1)
	again.Above = last.Epoch + 1_000_000_000
	if next := mustGrant(t, s, again, last.Epoch, long); next.Epoch != again.Above+1 {
		t.Errorf("epoch %d, want the one after %d", next.Epoch, again.Above)
	}
}

// grantFence: once a leader has read a connector, nothing that was decided under an older term is written.
func grantFence(t *testing.T, s *redisstore.Store) {
	slot := newSlots(t, 1)[0]
	first, err := s.GrantUnder(t.Context(), 5, grantTo(slot, "w1", 1), 0, long)
	if err != nil {
		t.Fatalf("GrantUnder of a connector that no leader has read: %v", err)
	}
	if _, err := s.SlotsUnder(t.Context(), 7, slot.Tunnel, slot.Connector); err != nil {
		t.Fatalf("SlotsUnder: %v", err)
	}
	var newer *lease.OvertakenError
	for _, old := range []lease.Term{0, 5, 6} {
		_, err := s.GrantUnder(t.Context(), old, grantTo(slot, "w2", 2), first.Epoch, long)
		if wantError(t, "GrantUnder of an older term", err, tunnel.ErrFenced); !errors.As(err, &newer) || newer.Term != 7 {
			t.Errorf("GrantUnder of term %d: %v, want it to name term 7", old, err)
		}
		if _, err = s.SlotsUnder(t.Context(), old, slot.Tunnel, slot.Connector); !errors.As(err, &newer) || newer.Term != 7 {
			t.Errorf("SlotsUnder of term %d: %v, want it to name term 7", old, err)
		}
	}
	for what, err := range map[string]error{
		"ReleaseUnder": s.ReleaseUnder(t.Context(), 6, slot, "w1", first.Epoch),
		"AskReconnect": s.AskReconnect(t.Context(), 6, slot, first.Epoch, "c"),
	} {
		if !errors.As(err, &newer) || newer.Term != 7 {
			t.Errorf("%s under an older term: %v, want it to name term 7", what, err)
		}
	}
	if r := only(t, slotsOf(t, s, slot)); r.Worker != "w1" || r.Reconnect != "" {
		t.Errorf("worker %s, reconnect %q, want w1 and none", r.Worker, r.Reconnect)
	}
	if _, err := s.GrantUnder(t.Context(), 7, grantTo(slot, "w2", 2), first.Epoch, long); err != nil {
		t.Errorf("GrantUnder of the term in force: %v", err)
	}
}

func grantAddress(t *testing.T, s *redisstore.Store) {
	slots := newSlots(t, 2)
	first := mustGrant(t, s, grantTo(slots[0], "w1", 1), 0, long)
	_, err := s.Grant(t.Context(), grantTo(slots[1], "w2", 1), 0, long)
	wantError(t, "Grant of an address that a live slot holds", err, tunnel.ErrConflict)
	mustGrant(t, s, grantTo(newSlots(t, 1)[0], "w1", 1), 0, long) // another connector may
	first = mustGrant(t, s, grantTo(slots[0], "w3", 1), first.Epoch, short)
	eventually(t, "the address of an expired slot is free", func() bool {
		_, err := s.Grant(t.Context(), grantTo(slots[1], "w2", 1), 0, long)
		return err == nil
	})
	// The old holder renews late: the address is taken now, so its lease stays expired.
	records := renew(t, s, slots[0], "w3", report(first, lease.Status{State: lease.StateConnected}))
	if records[0].Live || !records[1].Live {
		t.Errorf("live: got %v, %v, want false, true", records[0].Live, records[1].Live)
	}
	_, err = s.Grant(t.Context(), lease.Grant{Slot: slots[0], Worker: "w1"}, first.Epoch, long)
	wantError(t, "Grant without an address", err, tunnel.ErrNoAddress)
	if _, err := s.Grant(t.Context(), lease.Grant{Slot: slots[0], Edge: edge(3)}, first.Epoch, long); err == nil {
		t.Error("Grant without a worker succeeded")
	}
}

func grantBucket(t *testing.T, s *redisstore.Store) {
	slots := newSlots(t, 40)
	var last time.Duration
	for i, slot := range slots {
		granted := mustGrant(t, s, grantTo(slot, "w", i), 0, long)
		// The bucket fills while the test runs, so the waits have upper bounds only, and they grow.
		most := min(time.Duration(max(0, i+1-lease.RegistrationBurst))*lease.RegistrationInterval, 30*time.Second)
		if granted.Wait > most || granted.Wait < 0 {
			t.Errorf("wait of grant %d: got %v, want at most %v", i, granted.Wait, most)
		}
		last = max(last, granted.Wait)
	}
	if last == 0 {
		t.Error("no grant of a burst had to wait")
	}
	asked := grantTo(newSlots(t, 1)[0], "w", 1)
	asked.Wait = time.Minute
	if granted := mustGrant(t, s, asked, 0, long); granted.Wait != time.Minute {
		t.Errorf("wait: got %v, want the minute that was asked for", granted.Wait)
	}
	if got := only(t, slotsOf(t, s, asked.Slot)).Wait; got <= 0 || got > time.Minute {
		t.Errorf("wait of the record: got %v, want what is left of a minute", got)
	}
}

func testRenew(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	connected := lease.Status{State: lease.StateConnected, Location: "ams01", InFlight: 7}
	t.Run("batch", func(t *testing.T) {
		slots := newSlots(t, 4)
		var grants []lease.Grant
		var reports []lease.Report
		for i, slot := range slots {
			g := mustGrant(t, s, grantTo(slot, "w1", i), 0, long)
			grants = append(grants, g)
			reports = append(reports, report(g, connected))
		}
		reports[3].Epoch--                                                 // a stale epoch
		mustGrant(t, s, grantTo(slots[2], "w2", 2), grants[2].Epoch, long) // another holder
		got := renew(t, s, slots[0], "w1", reports...)
		states := make([]lease.State, len(got))
		for i, r := range got {
			states[i] = r.Status.State
		}
		want := []lease.State{lease.StateConnected, lease.StateConnected, lease.StateGranted, lease.StateGranted}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if got[0].Status != connected {
			t.Errorf("status: got %+v, want %+v", got[0].Status, connected)
		}
		if got[2].Epoch <= grants[2].Epoch || got[2].Worker != "w2" {
			t.Errorf("the old holder sees %+v, want the newer grant", got[2].Grant)
		}
		if diff := cmp.Diff(len(got), len(renew(t, s, slots[0], "w9"))); diff != "" {
			t.Errorf("records of a renewal without reports (-want +got):\n%s", diff)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		granted := mustGrant(t, s, grantTo(slot, "w1", 1), 0, short)
		live := func() bool { return only(t, slotsOf(t, s, slot)).Live }
		eventually(t, "a lease that is not renewed expires", func() bool { return !live() })
		if got := only(t, slotsOf(t, s, slot)); got.Epoch != granted.Epoch || got.Worker != "w1" {
			t.Errorf("expired record: got %+v, want it to keep its epoch and holder", got.Grant)
		}
		if !only(t, renew(t, s, slot, "w1", report(granted, connected))).Live || !live() {
			t.Error("a late renewal with the newest epoch did not revive the lease")
		}
	})
	t.Run("retries", func(t *testing.T) {
		slot := newSlots(t, 1)[0]
		first := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
		renew(t, s, slot, "w1", report(first, lease.Status{State: lease.StateFailed, Retries: 3, Reason: tunnel.ReasonDial}))
		second := mustGrant(t, s, grantTo(slot, "w2", 2), first.Epoch, long)
		if got := only(t, slotsOf(t, s, slot)).Status; got.Retries != 3 || got.State != lease.StateGranted {
			t.Errorf("status after the next grant: got %+v, want granted with 3 retries", got)
		}
		records := renew(t, s, slot, "w2", report(second, lease.Status{State: lease.StateConnecting}))
		if got := only(t, records).Status.Retries; got != 3 {
			t.Errorf("retries while a new holder connects: got %d, want 3", got)
		}
		renew(t, s, slot, "w2", report(second, connected))
		records = renew(t, s, slot, "w2", report(second, lease.Status{State: lease.StateFailed, Retries: 1}))
		if got := only(t, records).Status.Retries; got != 1 {
			t.Errorf("retries after a success: got %d, want 1", got)
		}
	})
}

func testRelease(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	slots := newSlots(t, 2)
	slot := slots[0]
	release := func(worker string, epoch tunnel.Epoch) error {
		return s.Release(t.Context(), slot, tunnel.WorkerID(worker), epoch)
	}
	wantError(t, "Release of a slot that was never granted", release("w1", 1), tunnel.ErrNotFound)
	first := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
	second := mustGrant(t, s, grantTo(slot, "w2", 1), first.Epoch, long)
	wantError(t, "Release with an older epoch", release("w1", first.Epoch), tunnel.ErrFenced)
	wantError(t, "Release by another worker", release("w1", second.Epoch), tunnel.ErrFenced)
	wantError(t, "Release of another worker's grant that was lost", release("w1", second.Epoch+1), tunnel.ErrNotFound)
	for range 2 {
		if err := release("w2", second.Epoch); err != nil {
			t.Fatalf("Release: %v", err)
		}
	}
	got := only(t, slotsOf(t, s, slot))
	if got.Live || got.Worker != "" || got.Epoch != second.Epoch || got.Status != (lease.Status{Retries: 1}) {
		t.Errorf("released record: got %+v, want a free slot with its epoch", got)
	}
	records := renew(t, s, slot, "w2", report(second, lease.Status{State: lease.StateConnected}))
	if only(t, records).Live {
		t.Error("a renewal after the release revived the lease")
	}
	mustGrant(t, s, grantTo(slots[1], "w3", 1), 0, long) // the address is free
	third := mustGrant(t, s, grantTo(slot, "w1", 2), second.Epoch, long)
	// A worker that had a newer epoch before the store lost it gives the slot back under that one.
	if err := release("w1", third.Epoch+9); err != nil {
		t.Errorf("Release with an epoch that was lost: %v", err)
	}
	for _, r := range slotsOf(t, s, slot) {
		if r.Slot.Index == slot.Index && (r.Epoch != third.Epoch+9 || r.Live || r.Worker != "") {
			t.Errorf("after it: got %+v, want a free slot of epoch %d", r, third.Epoch+9)
		}
	}
	if third.Epoch <= second.Epoch {
		t.Errorf("epoch %d after %d, want it to grow over a release", third.Epoch, second.Epoch)
	}
}

func testGate(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	slot := newSlots(t, 1)[0]
	proved := func() bool {
		t.Helper()
		open, err := s.Proved(t.Context(), slot.Tunnel, slot.Connector)
		if err != nil {
			t.Fatalf("Proved: %v", err)
		}
		return open
	}
	granted := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
	renew(t, s, slot, "w1", report(granted, lease.Status{State: lease.StateConnecting}))
	if proved() {
		t.Error("the gate is open before any connection")
	}
	stale := granted
	stale.Epoch--
	renew(t, s, slot, "w1", report(stale, lease.Status{State: lease.StateConnected}))
	if proved() {
		t.Error("a stale report opened the gate")
	}
	renew(t, s, slot, "w1", report(granted, lease.Status{State: lease.StateConnected}))
	if !proved() {
		t.Error("the gate is closed after a connection")
	}
}

package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func mustDesired(t *testing.T, s *redisstore.Store, known uint64) command.Read {
	t.Helper()
	read, err := s.Desired(t.Context(), known)
	if err != nil {
		t.Fatalf("Desired: %v", err)
	}
	return read
}

// testDesired: documents change by compare-and-set, versions grow, and the whole is read only when it changed.
func testDesired(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id := open(t), newTunnel(t)
	first, err := s.SetDesired(t.Context(), id, 0, desired.Spec{Connections: 2}, "ann", false)
	if err != nil || first == 0 {
		t.Fatalf("SetDesired: version %d, %v", first, err)
	}
	_, err = s.SetDesired(t.Context(), id, 0, desired.Spec{}, "bob", false)
	wantError(t, "SetDesired over a version that was not seen", err, tunnel.ErrConflict)
	pool := "eu"
	second, err := s.SetDesired(t.Context(), id, first, desired.Spec{Pool: &pool, Weights: map[string]int{"w": 3}}, "bob", true)
	if err != nil || second <= first {
		t.Fatalf("SetDesired again: version %d after %d, %v", second, first, err)
	}
	read := mustDesired(t, s, 0)
	got, want := read.Tunnels[id], desired.Document{
		Spec: desired.Spec{Pool: &pool, Weights: map[string]int{"w": 3}}, Version: second, PoolVersion: second, Author: "bob",
		Former: &desired.Spec{Connections: 2},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(desired.Document{}, "Changed")); diff != "" || got.Changed.IsZero() {
		t.Errorf("document, changed %v (-want +got):\n%s", got.Changed, diff)
	}
	if again := mustDesired(t, s, read.Version); !again.Same || again.Version != read.Version {
		t.Errorf("read with the known version: %+v, want the same", again)
	}
	worker := tunnel.WorkerID(unique(t))
	mark, err := s.SetDrained(t.Context(), worker, 0, true, "ann")
	if err != nil {
		t.Fatalf("SetDrained: %v", err)
	}
	changed := mustDesired(t, s, read.Version)
	if m := changed.Workers[worker]; changed.Same || changed.Version <= read.Version || !m.Drained || m.Version != mark || m.Author != "ann" {
		t.Errorf("after a mark: %+v", changed)
	}
}

// testRestored: what is given back replaces an older version only, and keeps its own.
func testRestored(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, id, worker := open(t), newTunnel(t), tunnel.WorkerID(unique(t))
	known := mustDesired(t, s, 0).Version
	lost := desired.Document{Spec: desired.Spec{Paused: true}, Version: 70, PoolVersion: 60, Author: "ann"}
	if err := s.RestoreDesired(t.Context(), id, lost); err != nil {
		t.Fatalf("RestoreDesired: %v", err)
	}
	wantError(t, "RestoreDesired of the same version", s.RestoreDesired(t.Context(), id, lost), tunnel.ErrConflict)
	if err := s.RestoreDrained(t.Context(), worker, desired.Mark{Drained: true, Version: 71}); err != nil {
		t.Fatalf("RestoreDrained: %v", err)
	}
	read := mustDesired(t, s, known)
	got := read.Tunnels[id]
	got.Changed = time.Time{}
	if diff := cmp.Diff(lost, got); diff != "" || read.Workers[worker].Version != 71 {
		t.Errorf("document, mark %+v (-want +got):\n%s", read.Workers[worker], diff)
	}
	next, err := s.SetDesired(t.Context(), id, 70, desired.Spec{}, "bob", false)
	if err != nil || next <= 70 {
		t.Errorf("SetDesired after it: version %d, %v", next, err)
	}
}

// testCommands: a command is one however often it is sent, its first result stays, and it expires.
func testCommands(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	c := desired.Command{ID: unique(t), Kind: desired.Move, Tunnel: newTunnel(t), Index: 2, Epoch: 7, Worker: "w", Author: "ann"}
	_, err := s.Result(t.Context(), c.ID)
	wantError(t, "Result of no command", err, tunnel.ErrNotFound)
	firstResult(t, s, c)
	c.ID = unique(t)
	if _, err := s.Submit(t.Context(), c, desired.MinTTL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command expires", func() bool {
		got, err := s.Result(t.Context(), c.ID)
		return err == nil && got.Outcome == desired.Expired
	})
}

// firstResult submits and answers a command, twice each.
func firstResult(t *testing.T, s *redisstore.Store, c desired.Command) {
	t.Helper()
	for range 2 {
		got, err := s.Submit(t.Context(), c, desired.MaxTTL)
		if err != nil || got.Command != c || got.Outcome != desired.Pending || got.Remaining <= 0 {
			t.Fatalf("Submit: %+v, %v", got, err)
		}
	}
	read := mustDesired(t, s, 0)
	waitsOnce(t, read.Commands, c)
	other := c
	other.Index = 3
	_, err := s.Submit(t.Context(), other, desired.MaxTTL)
	wantError(t, "Submit of another command with the id", err, tunnel.ErrConflict)
	for _, r := range []desired.Result{{Outcome: desired.Done, Detail: "epoch 9"}, {Outcome: desired.Refused, Detail: "late"}} {
		got, err := s.Answer(t.Context(), c.ID, r)
		if err != nil || got.Outcome != desired.Done || got.Detail != "epoch 9" {
			t.Errorf("Answer %v: %+v, %v, want the first result", r, got, err)
		}
	}
	got, err := s.Submit(t.Context(), c, desired.MaxTTL)
	if err != nil || got.Outcome != desired.Done || got.Detail != "epoch 9" {
		t.Errorf("Submit after the result: %+v, %v", got, err)
	}
	for _, p := range mustDesired(t, s, read.Version).Commands {
		if p.ID == c.ID {
			t.Error("a command with a result waits")
		}
	}
}

// waitsOnce checks that a command is once among those that wait.
func waitsOnce(t *testing.T, commands []desired.Status, c desired.Command) {
	t.Helper()
	waiting := 0
	for _, p := range commands {
		if p.Command == c && p.Remaining > 0 {
			waiting++
		}
	}
	if waiting != 1 {
		t.Errorf("%d of %+v, want the command once", waiting, commands)
	}
}

// testCommandLimit: the commands of one tunnel that wait are bounded, and do not keep out those of others.
func testCommandLimit(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	c := desired.Command{Kind: desired.Reconnect, Tunnel: newTunnel(t), Epoch: 7}
	for range desired.MaxPendingTunnel {
		c.ID = unique(t)
		if _, err := s.Submit(t.Context(), c, desired.MaxTTL); err != nil {
			t.Fatal(err)
		}
	}
	c.ID = unique(t)
	_, err := s.Submit(t.Context(), c, desired.MaxTTL)
	wantError(t, "Submit beyond the limit", err, tunnel.ErrUnavailable)
	c.Tunnel = newTunnel(t)
	if _, err := s.Submit(t.Context(), c, desired.MaxTTL); err != nil {
		t.Errorf("Submit for another tunnel: %v", err)
	}
}

// testReconnect: the record says it under the epoch that was named, and a grant ends it.
func testReconnect(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s, slot := open(t), newSlots(t, 1)[0]
	wantError(t, "AskReconnect of no slot", s.AskReconnect(t.Context(), 0, slot, 1, "c1"), tunnel.ErrNotFound)
	g := mustGrant(t, s, grantTo(slot, "w1", 1), 0, long)
	wantError(t, "AskReconnect with another epoch", s.AskReconnect(t.Context(), 0, slot, g.Epoch-1, "c1"), tunnel.ErrFenced)
	if err := s.AskReconnect(t.Context(), 0, slot, g.Epoch, "c1"); err != nil {
		t.Fatal(err)
	}
	if r := only(t, slotsOf(t, s, slot)); r.Reconnect != "c1" || r.Command != "" {
		t.Errorf("record %+v, want the reconnect c1", r)
	}
	next := grantTo(slot, "w2", 2)
	next.Command = "c2"
	g = mustGrant(t, s, next, g.Epoch, long)
	if r := only(t, slotsOf(t, s, slot)); r.Reconnect != "" || r.Command != "c2" {
		t.Errorf("record %+v after a grant by command c2", r)
	}
	if err := s.Release(t.Context(), slot, "w2", g.Epoch); err != nil {
		t.Fatal(err)
	}
	wantError(t, "AskReconnect of a free slot", s.AskReconnect(t.Context(), 0, slot, g.Epoch, "c3"), tunnel.ErrFenced)
}

package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// long is a TTL that does not end within a test, short one that a test waits for.
	long  = time.Hour
	short = 30 * time.Millisecond
	// patience bounds every wait for a condition.
	patience = 20 * time.Second
)

// Run runs the whole contract. Each call of open gives a store on one and the same server; it may be the same store
// again. The caller closes them; the last test does, too.
func Run(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	t.Helper()
	groups := []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) *redisstore.Store)
	}{
		{"pool", testPool},
		{"lead", testLead},
		{"shares", testShares},
		{"shares beside a single leader", testSharesBesideLeader},
		{"registry", testRegistry},
		{"worker lease", testWorkerLease},
		{"inbox", testInbox},
		{"marks", testMarks},
		{"revisions", testRevisions},
		{"generation", testGeneration},
		{"instances", testInstances},
		{"connector", testConnector},
		{"grant", testGrant},
		{"renew", testRenew},
		{"claims", testClaims},
		{"refused claims", testRefusedClaims},
		{"release", testRelease},
		{"gate", testGate},
		{"desired", testDesired},
		{"restored", testRestored},
		{"commands", testCommands},
		{"command limit", testCommandLimit},
		{"reconnect", testReconnect},
		{"rules", testRules},
		{"rule floor", testRuleFloor},
		{"tokens", testTokens},
		{"journal", testJournal},
		{"once", testOnce},
		{"notes of rules", testNotes},
		{"limit of notes", testNoteLimit},
		{"rule moves", testRuleMoves},
		{"quota", testQuota},
		{"concurrent", testConcurrent},
		{"watch", testWatch},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) { g.run(t, open) })
	}
}

// unique is a name that no other test uses.
func unique(t *testing.T) string {
	t.Helper()
	return newTunnel(t).String()
}

func newTunnel(t *testing.T) tunnel.ID {
	t.Helper()
	id, err := tunnel.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newConnector(t *testing.T) tunnel.ConnectorID {
	t.Helper()
	id, err := tunnel.NewConnectorID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newSlots makes the slots 0..n-1 of a connector that nobody else uses.
func newSlots(t *testing.T, n int) []tunnel.Slot {
	t.Helper()
	id, connector := newTunnel(t), newConnector(t)
	slots := make([]tunnel.Slot, n)
	for i := range slots {
		slots[i] = tunnel.Slot{Tunnel: id, Connector: connector, Index: tunnel.ConnIndex(i)}
	}
	return slots
}

func edge(n int) tunnel.EdgeAddr {
	return tunnel.EdgeAddr{
		Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844),
		Region: tunnel.Region(fmt.Sprintf("region%d", n%2+1)),
	}
}

func grantTo(slot tunnel.Slot, worker string, address int) lease.Grant {
	return lease.Grant{Slot: slot, Worker: tunnel.WorkerID(worker), Edge: edge(address), Protocol: tunnel.QUIC}
}

func mustGrant(t *testing.T, s *redisstore.Store, g lease.Grant, expect tunnel.Epoch, ttl time.Duration) lease.Grant {
	t.Helper()
	granted, err := s.Grant(t.Context(), g, expect, ttl)
	if err != nil {
		t.Fatalf("Grant(%v, %d): %v", g, expect, err)
	}
	return granted
}

func slotsOf(t *testing.T, s *redisstore.Store, slot tunnel.Slot) []lease.Record {
	t.Helper()
	table, err := s.Slots(t.Context(), slot.Tunnel, slot.Connector)
	if err != nil {
		t.Fatalf("Slots: %v", err)
	}
	return table.Records
}

// only is the one record of a connector with one slot.
func only(t *testing.T, records []lease.Record) lease.Record {
	t.Helper()
	if len(records) != 1 {
		t.Fatalf("got %d records, want 1: %+v", len(records), records)
	}
	return records[0]
}

func renew(t *testing.T, s *redisstore.Store, slot tunnel.Slot, worker string, reports ...lease.Report) []lease.Record {
	t.Helper()
	table, err := s.Renew(t.Context(), slot.Tunnel, slot.Connector, tunnel.WorkerID(worker), reports, long)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	return table.Records
}

func report(g lease.Grant, status lease.Status) lease.Report {
	return lease.Report{Index: g.Slot.Index, Epoch: g.Epoch, Status: status}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

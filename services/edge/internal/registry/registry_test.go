package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// session is alive or dead; the table uses nothing else of it.
type session struct {
	transport.Session
	ctx  context.Context //nolint:containedctx // it is the session's own life, handed out by Context
	kill context.CancelFunc
}

func (s *session) Context() context.Context { return s.ctx }

func conn(t *testing.T, index tunnel.ConnIndex, epoch tunnel.Epoch, local, remote string) *registry.Conn {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	return registry.NewConn(registry.Info{
		Slot:   tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: index},
		Epoch:  epoch,
		Local:  netip.MustParseAddrPort(local),
		Remote: netip.MustParseAddrPort(remote),
	}, &session{ctx: ctx, kill: cancel})
}

func retired(c *registry.Conn) bool {
	select {
	case <-c.Retired():
		return true
	default:
		return false
	}
}

func TestSecondRegistrationOfASlot(t *testing.T) {
	t.Parallel()
	const here, there = "10.0.0.1:7844", "10.0.0.2:7844"
	for _, c := range []struct {
		name        string
		oldEpoch    tunnel.Epoch
		newEpoch    tunnel.Epoch
		local       string
		remote      string
		oldDead     bool
		unregister  bool
		want        error
		oldReplaced bool
		current     string
	}{
		{name: "same edge address", local: here, remote: "10.9.9.9:2", want: registry.ErrDuplicate, current: "old"},
		{name: "same edge address, old dead", local: here, remote: "10.9.9.9:2", oldDead: true, current: "new"},
		{name: "same edge address, old unregistered", local: here, remote: "10.9.9.9:2", unregister: true, oldReplaced: true, current: "new"},
		{name: "same remote address", local: here, remote: "10.9.9.9:1", oldReplaced: true, current: "new"},
		{name: "higher epoch", oldEpoch: 4, newEpoch: 5, local: here, remote: "10.9.9.9:2", oldReplaced: true, current: "new"},
		{name: "first epoch", newEpoch: 5, local: here, remote: "10.9.9.9:2", oldReplaced: true, current: "new"},
		{name: "same epoch", oldEpoch: 5, newEpoch: 5, local: here, remote: "10.9.9.9:2", want: registry.ErrDuplicate, current: "old"},
		{name: "lower epoch", oldEpoch: 5, newEpoch: 4, local: here, remote: "10.9.9.9:2", want: tunnel.ErrFenced, current: "old"},
		{name: "elsewhere, higher epoch", oldEpoch: 4, newEpoch: 5, local: there, remote: "10.9.9.9:2", current: "new"},
		{name: "elsewhere, lower epoch", oldEpoch: 5, newEpoch: 4, local: there, remote: "10.9.9.9:2", want: tunnel.ErrFenced, current: "old"},
		{name: "elsewhere, no epoch", local: there, remote: "10.9.9.9:2", current: "new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := registry.NewTable()
			older := conn(t, 0, c.oldEpoch, here, "10.9.9.9:1")
			if err := table.Register(older); err != nil {
				t.Fatalf("Register(old): %v", err)
			}
			if c.oldDead {
				older.Session.(*session).kill()
			}
			if c.unregister {
				table.Retire(older, registry.Unregistered)
			}
			newer := conn(t, 0, c.newEpoch, c.local, c.remote)
			if err := table.Register(newer); !errors.Is(err, c.want) {
				t.Fatalf("Register(new) = %v, want %v", err, c.want)
			}
			if got := retired(older); got != c.oldReplaced {
				t.Errorf("old retired = %v, want %v", got, c.oldReplaced)
			}
			want := map[string]*registry.Conn{"old": older, "new": newer}[c.current]
			for range 4 {
				if got, ok := table.Pick(tunnel.ID{1}, nil); !ok || got != want {
					t.Fatalf("Pick = %p, want the %s one", got, c.current)
				}
			}
		})
	}
}

func TestOlderServesAgainWhenNewerGoes(t *testing.T) {
	t.Parallel()
	table := registry.NewTable()
	older, newer := conn(t, 0, 1, "10.0.0.1:1", "10.9.9.9:1"), conn(t, 0, 2, "10.0.0.2:1", "10.9.9.9:2")
	for _, c := range []*registry.Conn{older, newer} {
		if err := table.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := table.Pick(tunnel.ID{1}, newer); !ok || got != older {
		t.Error("a retry does not fall back to the older connection of the slot")
	}
	table.Remove(newer)
	if got, ok := table.Pick(tunnel.ID{1}, nil); !ok || got != older {
		t.Error("the older connection does not serve although it is the only one left")
	}
	table.Remove(older)
	if _, ok := table.Pick(tunnel.ID{1}, nil); ok || table.Len() != 0 {
		t.Error("an empty table gave a connection")
	}
	table.Remove(older)
}

func TestLeastInFlight(t *testing.T) {
	t.Parallel()
	table := registry.NewTable()
	conns := make([]*registry.Conn, 4)
	for i := range conns {
		conns[i] = conn(t, tunnel.ConnIndex(i), 0, "10.0.0.1:1", "10.9.9.9:1")
		if err := table.Register(conns[i]); err != nil {
			t.Fatal(err)
		}
	}
	for range 400 {
		if _, ok := table.Pick(tunnel.ID{1}, nil); !ok {
			t.Fatal("Pick found nothing")
		}
	}
	for i, c := range conns {
		if c.InFlight() != 100 {
			t.Errorf("connection %d has %d in flight, want 100", i, c.InFlight())
		}
	}
	conns[2].Release()
	if got, _ := table.Pick(tunnel.ID{1}, nil); got != conns[2] {
		t.Error("Pick did not take the connection with the fewest requests")
	}
	seen := make(map[*registry.Conn]bool)
	for range 200 {
		c, _ := table.Pick(tunnel.ID{1}, nil)
		seen[c] = true
		c.Release()
	}
	if len(seen) != len(conns) {
		t.Errorf("of equal connections only %d of %d were ever chosen", len(seen), len(conns))
	}
}

func TestRetiredConnectionDrains(t *testing.T) {
	t.Parallel()
	table := registry.NewTable()
	c := conn(t, 0, 0, "10.0.0.1:1", "10.9.9.9:1")
	if err := table.Register(c); err != nil {
		t.Fatal(err)
	}
	picked, _ := table.Pick(tunnel.ID{1}, nil)
	table.Retire(c, registry.Unregistered)
	if _, ok := table.Pick(tunnel.ID{1}, nil); ok {
		t.Error("a retired connection got a new request")
	}
	if table.StateOf(c) != registry.Unregistered || !retired(c) || c.InFlight() != 1 || table.Count(tunnel.ID{1}) != 0 {
		t.Error("the state after Retire is wrong")
	}
	picked.Release()
	<-c.Drained()
	table.Evict(tunnel.ID{1})
	if l := table.List(); len(l) != 1 || l[0].State != registry.Evicted {
		t.Errorf("List = %v", l)
	}
}

func BenchmarkPick(b *testing.B) {
	table := registry.NewTable()
	for i := range 4 {
		c := registry.NewConn(registry.Info{Slot: tunnel.Slot{Index: tunnel.ConnIndex(i)}}, &session{ctx: b.Context()})
		if err := table.Register(c); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c, _ := table.Pick(tunnel.ID{}, nil)
		c.Release()
	}
}

func TestAbilitiesOfConnectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		protocol tunnel.Protocol
		features []string
		want     string
	}{
		{tunnel.QUIC, nil, ""},
		{tunnel.QUIC, []string{"support_datagram_v3_2", "serialized_headers"}, "v3 "},
		{tunnel.QUIC, []string{"culvert_streams_1"}, "frames interim half "},
		{tunnel.QUIC, []string{"culvert_datagrams_1", "support_datagram_v2"}, "bundles "},
		{tunnel.HTTP2, nil, "frames "},
		{tunnel.HTTP2, []string{"culvert_streams_1"}, "frames interim half "},
	} {
		conn := registry.NewConn(registry.Info{Protocol: c.protocol, Features: c.features}, nil)
		var got string
		for _, k := range []struct {
			name string
			can  bool
		}{
			{"frames", conn.Frames()}, {"interim", conn.Interim()}, {"half", conn.HalfClose()}, {"bundles", conn.Bundles()}, {
				"v3",
				conn.DatagramV3(),
			},
		} {
			if k.can {
				got += k.name + " "
			}
		}
		if got != c.want {
			t.Errorf("%s %v: %q, want %q", c.protocol, c.features, got, c.want)
		}
	}
}

func TestEpochOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		features []string
		want     tunnel.Epoch
	}{
		{"no features", nil, 0},
		{"no epoch", []string{"serialized_headers"}, 0},
		{"epoch", []string{"serialized_headers", "culvert_epoch=7"}, 7},
		{"not a number", []string{"culvert_epoch=x"}, 0},
		{"negative", []string{"culvert_epoch=-1"}, 0},
		{"not a number, then a number", []string{"culvert_epoch=", "culvert_epoch=9"}, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := registry.EpochOf(c.features); got != c.want {
				t.Errorf("EpochOf(%q) = %d, want %d", c.features, got, c.want)
			}
		})
	}
}

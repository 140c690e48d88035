package udp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// TestFlowsPerTunnel: one tunnel cannot use all flows of the edge, and a flow that ends returns its place.
func TestFlowsPerTunnel(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.MaxFlows, cfg.TunnelFlows = 3, 2
	l := newLab(t, cfg)
	table := registry.NewTable()
	l.connect(table, 0, 1, ours)
	l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{2}}, Protocol: tunnel.QUIC, Features: ours})
	first := l.start(0)
	l.start(0)
	if _, err := l.flows.Start(app, resolver, 0, l.deliver); !errors.Is(err, ErrTooManyFlows) {
		t.Errorf("third flow of a tunnel: %v, want ErrTooManyFlows", err)
	}
	if _, err := l.flows.Start(tunnel.ID{2}, resolver, 0, l.deliver); err != nil {
		t.Errorf("flow of another tunnel: %v", err)
	}
	first.Close()
	if _, err := l.flows.Start(app, resolver, 0, l.deliver); err != nil {
		t.Errorf("flow after one has ended: %v", err)
	}
}

// TestKeptBytesPerTunnel: one tunnel cannot use the whole budget of kept bytes, and its share is forgotten with its last flow.
func TestKeptBytesPerTunnel(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.KeptBytes, cfg.TunnelKept = 15, 10
	l := newLab(t, cfg)
	table := registry.NewTable()
	l.connect(table, 0, 1, stockV3) // it does not accept the flows, so that their payloads wait
	l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{2}}, Protocol: tunnel.QUIC, Features: stockV3})
	one, two := l.start(0), l.start(0)
	other, err := l.flows.Start(tunnel.ID{2}, resolver, 0, l.deliver)
	if err != nil {
		t.Fatal(err)
	}
	send(t, one, "12345678")
	send(t, two, "901")         // beyond the share
	send(t, other, "123456789") // beyond the total
	send(t, other, "1234567")
	if n := l.dropped(dropNoRoom); n != 2 {
		t.Errorf("%d payloads dropped, want 2", n)
	}
	for _, f := range []*Flow{one, two, other} {
		f.Close()
	}
	l.flows.mu.Lock()
	defer l.flows.mu.Unlock()
	if n := l.flows.kept.used.Load(); n != 0 || len(l.flows.budgets) != 0 {
		t.Errorf("%d bytes and %d budgets are left", n, len(l.flows.budgets))
	}
}

// TestPingsPerTunnel: pings of one tunnel in flight are bounded; those of another tunnel are not affected.
func TestPingsPerTunnel(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	l.connect(table, 0, 1, ours)
	l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{2}}, Protocol: tunnel.QUIC, Features: ours})
	for range tunnelPings {
		l.flows.pingQuota.Take(app, 1)
	}
	dst := netip.MustParseAddr("10.0.0.1")
	ctx, cancel := context.WithTimeoutCause(t.Context(), testkit.Patience, errors.New("not refused at once"))
	defer cancel()
	if _, err := l.flows.Ping(ctx, app, PingRequest{Destination: dst, Timeout: testkit.Patience}); !errors.Is(err, ErrPing) {
		t.Errorf("ping beyond the share: %v, want ErrPing", err)
	}
	for range 2 {
		if _, err := l.flows.Ping(t.Context(), tunnel.ID{2}, PingRequest{Destination: dst, Timeout: time.Millisecond}); !errors.Is(err,
			ErrSilent) {
			t.Errorf("ping of another tunnel: %v, want ErrSilent", err)
		}
	}
	if n := l.flows.pingQuota.Total(); n != tunnelPings {
		t.Errorf("%d pings are counted, want %d", n, tunnelPings)
	}
}

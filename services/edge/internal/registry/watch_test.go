package registry_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// probed is a session with a transport that responds to probes unless it is dead.
type probed struct {
	session
	received, probes atomic.Uint64
	dead             atomic.Bool
}

func (p *probed) Received() uint64   { return p.received.Load() }
func (p *probed) RTT() time.Duration { return time.Millisecond }

func (p *probed) Probe() bool {
	p.probes.Add(1)
	if !p.dead.Load() {
		p.received.Add(1)
	}
	return true
}

// watched is a table with two connections of a tunnel that are watched, in a bubble.
type watched struct {
	table *registry.Table
	reg   *prometheus.Registry
	conns [2]*registry.Conn
	peers [2]*probed
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{table: registry.NewTable(), reg: prometheus.NewRegistry()}
	for i := range w.conns {
		ctx, cancel := context.WithCancel(t.Context())
		w.peers[i] = &probed{session: session{ctx: ctx, kill: cancel}}
		w.peers[i].received.Store(1) // the registration
		w.conns[i] = registry.NewConn(registry.Info{
			Slot: tunnel.Slot{Tunnel: tunnel.ID{1}, Index: tunnel.ConnIndex(i)}, Protocol: tunnel.QUIC,
		}, w.peers[i])
		if err := w.table.Register(w.conns[i]); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	runs.Go(func() {
		if err := registry.NewWatch(w.table, slog.New(slog.DiscardHandler), w.reg).Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); runs.Wait() })
	return w
}

// pick begins a request on the first connection.
func (w *watched) pick(t *testing.T) *registry.Conn {
	t.Helper()
	c, ok := w.table.Pick(tunnel.ID{1}, w.conns[1])
	if !ok || c != w.conns[0] {
		t.Fatalf("Pick = %v, %v", c, ok)
	}
	return c
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestWatchDoubtsADeadPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		pass(time.Second)
		w.peers[0].dead.Store(true)
		c := w.pick(t)
		trusted := c.Trusted()
		pass(250 * time.Millisecond)
		if c.InDoubt() {
			t.Error("in doubt too early")
		}
		pass(100 * time.Millisecond)
		if !c.InDoubt() || trusted.Err() == nil || c.Trusted().Err() == nil {
			t.Error("a dead peer is trusted after 350 ms")
		}
		if n := testutil.CollectAndCount(w.reg, "culvert_edge_connection_doubts_total"); n != 1 {
			t.Errorf("%d series of doubts", n)
		}
		for range 100 { // though it has more in flight
			if other, ok := w.table.Pick(tunnel.ID{1}, nil); !ok || other != w.conns[1] {
				t.Fatalf("Pick = %v, %v, want the connection that is not in doubt", other, ok)
			}
		}
		if only, ok := w.table.Pick(tunnel.ID{1}, w.conns[1]); !ok || only != c {
			t.Errorf("Pick = %v, %v, want the connection in doubt when there is no other", only, ok)
		}
		w.peers[0].dead.Store(false)
		w.peers[0].received.Add(1)
		pass(100 * time.Millisecond)
		if c.InDoubt() || c.Trusted().Err() != nil {
			t.Error("a sign of life does not end the doubt")
		}
	})
}

func TestWatchTrustsALivingPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		pass(time.Second)
		if n := w.peers[0].probes.Load(); n != 0 {
			t.Errorf("%d probes of an idle connection", n)
		}
		c := w.pick(t)
		trusted := c.Trusted()
		pass(time.Minute) // a slow origin
		if c.InDoubt() || trusted.Err() != nil {
			t.Error("in doubt although every probe got a reply")
		}
		if n := w.peers[0].probes.Load(); n == 0 || n > 60 {
			t.Errorf("%d probes in a minute", n)
		}
		c.Release()
		before := w.peers[0].probes.Load()
		pass(time.Minute)
		if n := w.peers[0].probes.Load() - before; n > 1 {
			t.Errorf("%d probes after the last request", n)
		}
		if w.conns[0].InFlight() != 0 {
			t.Errorf("%d in flight", w.conns[0].InFlight())
		}
	})
}

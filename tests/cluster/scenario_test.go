package cluster

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

func TestOneWorker(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	w := c.worker("w1")
	c.steady(4)
	if err := w.worker.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	first := c.net.all()[0]
	if first.index != 0 {
		t.Errorf("index %d registered first", first.index)
	}
	for _, conn := range c.net.live() {
		if conn.connector != first.connector || conn.connector.IsZero() {
			t.Errorf("index %d: connector %s", conn.index, conn.connector)
		}
		if conn.localIP != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("index %d: local address %v", conn.index, conn.localIP)
		}
		if conn.epoch == 0 {
			t.Errorf("index %d: no epoch", conn.index)
		}
	}
	c.eventually("index 0 uploads the configuration", func() bool {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		return string(first.config) == `{"ingress":[]}`
	})
	w.stop()
	if left := len(c.net.live()); left != 0 {
		t.Errorf("%d connections after the stop", left)
	}
	c.net.mu.Lock()
	for _, conn := range c.net.conns {
		if !conn.unregistered {
			t.Errorf("index %d was not unregistered", conn.index)
		}
	}
	c.net.mu.Unlock()
	if workers, err := c.store.Workers(t.Context()); err != nil || len(workers) != 0 {
		t.Errorf("workers after the stop: %v, %v", workers, err)
	}
	for _, r := range c.records() {
		if r.Worker != "" || r.Live {
			t.Errorf("slot %d is still held: %+v", r.Slot.Index, r)
		}
	}
}

func TestWorkerKilled(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	workers := map[tunnel.WorkerID]*part{"w1": c.worker("w1"), "w2": c.worker("w2"), "w3": c.worker("w3")}
	c.eventually("four slots over three workers", func() bool {
		h := c.holders()
		return len(h) == 3 && h["w1"]+h["w2"]+h["w3"] == 4
	})
	c.steady(4)
	workers["w1"].kill()
	c.eventually("the others hold all slots", func() bool {
		h := c.holders()
		return h["w2"] == 2 && h["w3"] == 2
	})
	c.steady(4)
}

func TestSupervisorKilled(t *testing.T) {
	c := newCluster(t, 6)
	first := c.supervisor()
	c.worker("w1")
	c.steady(4)
	c.supervisor()
	first.kill() // it does not resign, so its leadership must expire first
	c.requests()
	c.worker("w2")
	c.eventually("the second supervisor spreads the slots", func() bool {
		h := c.holders()
		return h["w1"] == 2 && h["w2"] == 2
	})
	c.steady(4)
}

func TestStoreAway(t *testing.T) {
	c := newCluster(t, 6)
	s := c.supervisor()
	w := c.worker("w1")
	c.steady(4)
	s.cable.cut.Store(true)
	w.cable.cut.Store(true)
	c.eventually("both have logged that the store is unavailable", func() bool { return c.log.count("control plane is unavailable") == 2 })
	victim := c.net.live()[2]
	_ = victim.session.CloseWithError(0, "edge restarts")
	c.eventually("the worker dials the dropped session again by itself", func() bool { return c.net.indices() == 4 })
	c.requests()
	if got := c.log.count("control plane is unavailable"); got != 2 {
		t.Errorf("the outage was logged %d times", got)
	}
	before := c.net.live()
	s.cable.cut.Store(false)
	w.cable.cut.Store(false)
	c.eventually(
		"both have logged that the store is available again",
		func() bool { return c.log.count("control plane is available again") == 2 },
	)
	c.steady(4)
	for _, conn := range before {
		if conn.session.Context().Err() != nil {
			t.Errorf("index %d did not survive the return of the store", conn.index)
		}
	}
}

func TestColdStartWithoutStore(t *testing.T) {
	c := newCluster(t, 6)
	p := &part{cable: &cable{Store: c.store}}
	p.cable.cut.Store(true)
	c.workerAt(p, "w1")
	c.eventually("the readiness error names the store", func() bool {
		err := p.worker.Ready()
		return err != nil && strings.Contains(err.Error(), "waiting for the store")
	})
	c.supervisor()
	p.cable.cut.Store(false)
	c.steady(4)
}

func TestDrainConnectsElsewhereFirst(t *testing.T) {
	c := newCluster(t, 8)
	c.supervisor()
	w1 := c.worker("w1")
	c.steady(4)
	c.worker("w2")
	c.eventually("two slots on each worker", func() bool { h := c.holders(); return h["w1"] == 2 && h["w2"] == 2 })
	c.steady(4)
	w1.stop()
	if n := c.net.indices(); n != 4 {
		t.Errorf("%d indices right after the stop", n)
	}
	for _, conn := range c.net.unrelieved() {
		t.Errorf("index %d epoch %d was unregistered before another was live", conn.index, conn.epoch)
	}
	c.steady(4)
}

func TestDrainFinishesRunningRequests(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	w := c.worker("w1")
	c.steady(4)
	conn := c.net.live()[0]
	type result struct {
		body string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		body, err := conn.request(context.Background(), "/hold")
		got <- result{body, err}
	}()
	c.eventually("the request is in flight", func() bool { return c.held.Load() > 0 })
	w.cancel(context.Canceled)
	c.eventually("all are unregistered", func() bool { return len(c.net.live()) == 0 })
	if err := w.worker.Ready(); !errors.Is(err, tunnel.ErrDraining) {
		t.Errorf("ready while draining: %v", err)
	}
	close(c.hold)
	if r := <-got; r.err != nil || r.body != "http://app.example.com/hold" {
		t.Errorf("the running request got %q, %v", r.body, r.err)
	}
	<-w.done
}

func TestWrongSecret(t *testing.T) {
	c := newCluster(t, 6)
	c.net.setAdmit(func(netip.AddrPort, rpc.RegisterRequest) error {
		return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: errors.New("Unauthorized: Invalid tunnel secret")}
	})
	c.supervisor()
	w := c.worker("w1")
	c.eventually("the slot is refused", func() bool {
		r := c.records()
		return len(r) == 1 && r[0].Status.State == lease.StateRefused
	})
	if err := w.worker.Ready(); err == nil || !strings.Contains(err.Error(), "Invalid tunnel secret") {
		t.Errorf("ready: %v", err)
	}
	c.eventually("the log contains the refusal", func() bool { return c.log.count("edge refuses the credentials") > 0 })
	if n := c.log.count("edge refuses the credentials"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if strings.Contains(c.log.String(), "0123456789abcdef") {
		t.Error("the secret is in the log")
	}
	if n := c.net.tried(); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// TestCACertDecidesWhichEdgeIsTrusted: the certificates of the edges come from an authority of their own. With its certificate as
// cacert the worker registers; with the built-in roots every handshake fails, and nothing is registered.
func TestCACertDecidesWhichEdgeIsTrusted(t *testing.T) {
	for name, builtIn := range map[string]bool{"cacert": false, "built-in roots": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 6)
			if builtIn {
				c.net.caFile = ""
			}
			c.supervisor()
			w := c.worker("w1")
			if !builtIn {
				c.steady(4)
				return
			}
			c.eventually("the worker rejects the certificate of the edge", func() bool {
				err := w.worker.Ready()
				return err != nil && strings.Contains(err.Error(), "x509: ")
			})
			if n := c.net.tried(); n != 0 {
				t.Errorf("%d registrations at an edge that is not trusted", n)
			}
		})
	}
}

func TestDuplicateConnectionMovesToAnotherAddress(t *testing.T) {
	c := newCluster(t, 6)
	taken := c.net.pool.Regions[0].V4[0]
	other := c.net.pool.Regions[1].V4[0]
	c.net.setAdmit(func(edge netip.AddrPort, _ rpc.RegisterRequest) error {
		if edge == taken || edge == other {
			return &tunnel.ConnError{Reason: tunnel.ReasonDuplicate, Err: errors.New(rpc.CauseDuplicate)}
		}
		return nil
	})
	c.supervisor()
	c.worker("w1")
	c.steady(4)
	for _, conn := range c.net.live() {
		if conn.edge == taken || conn.edge == other {
			t.Errorf("index %d at %s", conn.index, conn.edge)
		}
	}
}

func TestRetryAfterOfTheEdgeIsRespected(t *testing.T) {
	c := newCluster(t, 6)
	refused := 0
	var at []time.Time
	c.net.setAdmit(func(netip.AddrPort, rpc.RegisterRequest) error {
		at = append(at, time.Now())
		if refused < 1 {
			refused++
			return &tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: 3 * time.Second, Err: errors.New("busy")}
		}
		return nil
	})
	c.supervisor()
	c.worker("w1")
	c.steady(4)
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if gap := at[1].Sub(at[0]); gap < 3*time.Second {
		t.Errorf("registered again after %v, want at least the 3s that the edge asked for", gap)
	}
}

func TestUnreachableAddressIsReplaced(t *testing.T) {
	c := newCluster(t, 4)
	// Nothing listens on the discard and daytime ports, so handshakes fail.
	dead := netip.MustParseAddrPort("127.0.0.1:9")
	c.net.pool.Regions[0].V4 = append([]netip.AddrPort{dead}, c.net.pool.Regions[0].V4...)
	c.net.pool.Regions[1].V4 = append([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:13")}, c.net.pool.Regions[1].V4...)
	c.publish()
	c.supervisor()
	c.worker("w1")
	c.steady(4)
}

func TestPanicEndsOneFlowOnly(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	c.worker("w1")
	c.steady(4)
	conn := c.net.live()[0]
	if body, err := conn.request(t.Context(), "/panic"); err == nil {
		t.Errorf("got %q", body)
	}
	c.requests()
}

func TestProxiesAreFoundInTheStore(t *testing.T) {
	c := newCluster(t, 6)
	c.supervisor()
	c.workerWith(&part{cable: &cable{Store: c.store}}, "w1", nil)
	c.eventually("the worker has registered with no capacity", func() bool {
		workers, err := c.store.Workers(t.Context())
		return err == nil && len(workers) == 1 && workers[0].Capacity == 0
	})
	endpoint, err := link.ParseEndpoint("unix:" + filepath.Join(t.TempDir(), "link.sock"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := endpoint.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := link.NewServer(link.ServerConfig{Handler: link.HandlerFunc(c.origin), Logger: c.logger()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	if n := c.net.indices(); n != 0 {
		t.Errorf("%d slots without a proxy, want none", n)
	}
	proxy := fleet.Proxy{ID: "p1", Endpoint: endpoint.String()}
	if err := c.store.PutProxy(t.Context(), proxy, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := c.store.Hint(t.Context(), lease.TopicFleet); err != nil {
		t.Fatal(err)
	}
	c.eventually("four slots", func() bool { return c.net.indices() == 4 })
	c.eventually("the proxy responds", func() bool {
		body, err := c.net.live()[0].request(t.Context(), "/")
		return err == nil && body == "http://app.example.com/"
	})
	c.requests()
	stop()
	if body, err := c.net.live()[0].request(t.Context(), "/"); err != nil || body != "error: no proxy is available" {
		t.Errorf("with an unreachable proxy: %q, %v", body, err)
	}
}

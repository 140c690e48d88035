package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

// parallelTests is how many tests run at the same time, whatever the number of cores: they mostly wait for timers.
const parallelTests = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallelTests); err != nil {
		panic(err)
	}
	storetest.VerifyMain(m)
}

// cluster is a deployment in one process.
type cluster struct {
	t     *testing.T
	net   *network
	store *redisstore.Store
	cred  tunnel.Credentials
	// others are further tunnels that workers serve.
	others []tunnel.Credentials
	log    *journal
	// features are what workers announce to the edge in addition to their own.
	features []string

	hold chan struct{} // the origin responds to /hold when it is closed
	held atomic.Int64  // requests that came for it
	// protocol is the setting of workers whose edges support both protocols.
	protocol protocol.Choice
	// demanded is the setting of workers whatever their edges support.
	demanded protocol.Choice
	// retries bounds the doublings of the waits of workers; 0 is the default.
	retries int
	// registries hold the metrics of the services that were started, by id.
	registries map[string]*prometheus.Registry
}

// newCluster prepares a store and a number of edges, each on an address of its own. The test runs in parallel with
// others.
func newCluster(t *testing.T, edges int) *cluster {
	t.Helper()
	t.Parallel()
	c := &cluster{
		t: t, net: newNetwork(t, edges), log: &journal{}, hold: make(chan struct{}), protocol: protocol.Auto,
		registries: make(map[string]*prometheus.Registry),
		cred:       tunnel.Credentials{AccountTag: "account", Secret: tunnel.Secret("0123456789abcdef0123456789abcdef"), TunnelID: tunnel.ID{7}},
	}
	store, err := redisstore.OpenEmbedded(t.Context(), c.logger())
	if err != nil {
		t.Fatal(err)
	}
	c.store = store
	t.Cleanup(func() { _ = store.Close() })
	if edges > 0 { // otherwise the test brings its own edge
		c.publish()
	}
	return c
}

func (c *cluster) publish() {
	c.t.Helper()
	if _, err := c.store.PublishPool(c.t.Context(), "", c.net.pool); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// counters makes the registry of a service.
func (c *cluster) counters(id string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	c.registries[id] = r
	return r
}

// logCounters prints the metrics that are not zero and whose names contain one of the words.
func (c *cluster) logCounters(words ...string) {
	c.t.Helper()
	for _, id := range slices.Sorted(maps.Keys(c.registries)) {
		families, err := c.registries[id].Gather()
		if err != nil {
			c.t.Logf("metrics of %s: %v", id, err)
		}
		for _, f := range families {
			if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(f.GetName(), w) }) {
				continue
			}
			for _, m := range f.GetMetric() {
				if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
					c.t.Logf("%s: %s %v %v", id, f.GetName(), m.GetLabel(), v)
				}
			}
		}
	}
}

// part is a running service.
type part struct {
	cable  *cable
	worker *connworker.Service
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// stop ends the part gracefully and waits for it.
func (p *part) stop() {
	p.cancel(context.Canceled)
	<-p.done
}

// kill ends the part like a crash: the store is not updated.
func (p *part) kill() {
	p.cable.cut.Store(true)
	p.cancel(connworker.ErrKilled)
	<-p.done
}

func (c *cluster) run(p *part, run func(context.Context) error) *part {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		if err := run(ctx); err != nil {
			c.t.Errorf("run: %v", err)
		}
	}()
	c.t.Cleanup(p.stop)
	return p
}

func (c *cluster) supervisor() *part {
	c.t.Helper()
	p := &part{cable: &cable{Store: c.store}}
	s, err := supervisor.New(supervisor.Default(), supervisor.Deps{Store: p.cable, Logger: c.logger()})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.run(p, s.Run)
}

func (c *cluster) workerAt(p *part, id string) *part {
	c.t.Helper()
	return c.workerWith(p, id, link.NewDirect(link.HandlerFunc(c.origin)))
}

// workerWith runs a worker. Without a carrier the worker finds its proxies in the store.
func (c *cluster) workerWith(p *part, id string, carrier link.Carrier) *part {
	c.t.Helper()
	cfg := connworker.Default()
	cfg.ID, cfg.Host, cfg.Edge.CACert = id, "host-"+id, c.net.caFile
	cfg.GracePeriod, cfg.Features, cfg.Link.SocketDir = 10*time.Second, c.features, os.TempDir()
	if overHTTP2(c.t) {
		cfg.Edge.Protocol = string(protocol.HTTP2)
	}
	if dual(c.t) {
		cfg.Edge.Protocol, cfg.Edge.ReturnAfter = string(c.protocol), time.Second
	}
	if c.demanded != "" {
		cfg.Edge.Protocol = string(c.demanded)
	}
	if c.retries > 0 {
		cfg.Edge.Retries = c.retries
	}
	s, err := connworker.New(cfg, connworker.Deps{
		Store: p.cable, Carrier: carrier, Logger: c.logger(), Version: "test", Registerer: c.counters(id),
		Credentials: append([]tunnel.Credentials{c.cred}, c.others...), LocalConfig: func() []byte { return []byte(`{"ingress":[]}`) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	p.worker = s
	return c.run(p, s.Run)
}

func (c *cluster) worker(id string) *part {
	return c.workerAt(&part{cable: &cable{Store: c.store}}, id)
}

// origin responds to every request with the request's URL; /hold waits for c.hold, /panic panics.
func (c *cluster) origin(_ context.Context, _ link.Meta, s link.Stream) {
	buf := make([]byte, 4096)
	n, err := s.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		s.Abort()
		return
	}
	var req stream.Request
	if _, err := stream.ParseRequest(buf[:n], &req); err != nil {
		s.Abort()
		return
	}
	switch {
	case strings.HasSuffix(req.Dest, "/hold"):
		c.held.Add(1)
		<-c.hold
	case strings.HasSuffix(req.Dest, "/panic"):
		panic("origin panics")
	}
	resp := stream.Response{Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: "200"}}}
	b, err := resp.Append(nil)
	if err == nil {
		_, err = s.Write(append(b, req.Dest...))
	}
	if err != nil {
		s.Abort()
		return
	}
	_ = s.CloseWrite()
}

// records reads the slots from the store. On a busy machine the store may not respond in time at first.
func (c *cluster) records() (records []lease.Record) {
	c.t.Helper()
	testkit.Retry(c.t, "read the slots", testkit.Patience, func() error {
		id, err := c.store.EnsureConnector(context.Background(), c.cred.TunnelID, tunnel.ConnectorID{9})
		if err != nil {
			return err
		}
		table, err := c.store.Slots(context.Background(), c.cred.TunnelID, id)
		records = table.Records
		return err
	})
	return records
}

// holders counts the connected slots of each worker.
func (c *cluster) holders() map[tunnel.WorkerID]int {
	m := map[tunnel.WorkerID]int{}
	for _, r := range c.records() {
		if r.Live && r.Status.State == lease.StateConnected {
			m[r.Worker]++
		}
	}
	return m
}

// report prints the slots and the log of all parts when the test has failed.
func (c *cluster) report() {
	if !c.t.Failed() {
		return
	}
	for _, r := range c.records() {
		c.t.Logf("slot %d: %s epoch %d at %s live %v: %+v", r.Slot.Index, r.Worker, r.Epoch, r.Edge, r.Live, r.Status)
	}
	c.t.Log(c.log.String())
}

// eventually waits for a condition. When it fails the test, it prints the state of the cluster.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	defer c.report()
	testkit.Eventually(c.t, what, ok)
}

// steady waits until every slot is connected exactly once, then checks that no two share an edge address and that the
// edges can send requests over all of them.
func (c *cluster) steady(slots int) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("%d slots connected, each once", slots), func() bool {
		total := 0
		for _, n := range c.holders() {
			total += n
		}
		return total == slots && len(c.net.live()) == slots && c.net.indices() == slots
	})
	seen := map[tunnel.EdgeAddr]bool{}
	for _, r := range c.records() {
		if seen[r.Edge] {
			c.t.Errorf("two slots at %s", r.Edge)
		}
		seen[r.Edge] = true
	}
	c.requests()
}

// requests sends one request over every connection.
func (c *cluster) requests() {
	c.t.Helper()
	for i, conn := range c.net.live() {
		path := fmt.Sprintf("/%d", i)
		body, err := conn.request(c.t.Context(), path)
		if err != nil || body != "http://app.example.com"+path {
			c.t.Errorf("request over index %d: %q, %v", conn.index, body, err)
		}
	}
}

// journal records the log of all parts.
type journal struct {
	mu sync.Mutex
	b  strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if os.Getenv("CLUSTER_LOG") != "" {
		_, _ = os.Stderr.Write(p)
	}
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) count(text string) int { return strings.Count(j.String(), text) }

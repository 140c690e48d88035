package virtual

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/discovery"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

// slots is the number of connections of the tunnel.
const slots = 4

// world is a deployment inside a bubble.
type world struct {
	t      *testing.T
	server *miniredis.Miniredis
	edges  *edges
	addrs  []netip.AddrPort
	log    *slog.Logger
	cred   tunnel.Credentials
	parts  []*part

	journal journal
}

// part is one process.
type part struct {
	line   *line
	store  *redisstore.Store
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// run runs a scenario against six edge addresses in two regions. It starts a discovery; the scenario starts the rest.
func run(t *testing.T, scenario func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, server: miniredis.NewMiniRedis(), edges: newEdges(),
			cred: tunnel.Credentials{AccountTag: "account", Secret: tunnel.Secret("0123456789abcdef0123456789abcdef"), TunnelID: tunnel.ID{7}},
		}
		w.log = slog.New(slog.NewTextHandler(&w.journal, nil))
		for i := range 6 {
			w.addrs = append(w.addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 7844))
		}
		ctx, cancel := context.WithCancel(context.Background())
		var aging sync.WaitGroup
		aging.Go(func() { w.age(ctx) })
		defer func() {
			for _, p := range slices.Backward(w.parts) {
				p.stop()
			}
			w.edges.served.Wait()
			cancel()
			aging.Wait()
			w.server.Close()
			if t.Failed() {
				t.Log(w.journal.String())
			}
		}()
		w.discovery()
		scenario(t, w)
	})
}

// age advances the TTLs of keys, which the server does not do by itself.
func (w *world) age(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.server.FastForward(time.Second)
		}
	}
}

// start runs a process with a store of its own.
func (w *world) start(service func(store *redisstore.Store) (func(context.Context) error, error)) *part {
	w.t.Helper()
	p := &part{line: &line{server: w.server, conns: map[*wire]struct{}{}}, done: make(chan struct{})}
	p.store = redisstore.OpenThrough("virtual", p.line.dial)
	serve, err := service(p.store)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		if err := serve(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
		_ = p.store.Close()
	}()
	w.parts = append(w.parts, p)
	return p
}

// stop ends the process in order, and waits for it.
func (p *part) stop() {
	p.cancel(context.Canceled)
	<-p.done
}

// kill ends the process like a crash: the store is not told.
func (p *part) kill() {
	p.line.setCut(true)
	p.cancel(connworker.ErrKilled)
	<-p.done
}

func (w *world) discovery() *part {
	w.t.Helper()
	return w.start(func(store *redisstore.Store) (func(context.Context) error, error) {
		cfg := discovery.Default()
		for _, a := range w.addrs {
			cfg.Static = append(cfg.Static, a.String())
		}
		s, err := discovery.New(cfg, discovery.Deps{Store: store, Logger: w.log})
		if err != nil {
			return nil, err
		}
		return s.Run, nil
	})
}

func (w *world) supervisor() *part {
	w.t.Helper()
	return w.start(func(store *redisstore.Store) (func(context.Context) error, error) {
		s, err := supervisor.New(supervisor.Default(), supervisor.Deps{Store: store, Logger: w.log})
		if err != nil {
			return nil, err
		}
		return s.Run, nil
	})
}

func (w *world) worker(id tunnel.WorkerID) *part {
	w.t.Helper()
	return w.start(func(store *redisstore.Store) (func(context.Context) error, error) {
		cfg := connworker.Default()
		cfg.ID, cfg.Host, cfg.GracePeriod = string(id), "host-"+string(id), 10*time.Second
		s, err := connworker.New(cfg, connworker.Deps{
			Store: store, Carrier: link.NewDirect(link.HandlerFunc(respond)), Logger: w.log, Version: "test",
			Dialer: dialer{edges: w.edges, worker: id}, Credentials: []tunnel.Credentials{w.cred},
			LocalConfig: func() []byte { return []byte(`{"ingress":[]}`) },
		})
		if err != nil {
			return nil, err
		}
		return s.Run, nil
	})
}

// respond is the proxy with its origin: it responds to each request with its URL.
func respond(_ context.Context, _ link.Meta, s link.Stream) {
	var req stream.Request
	b, err := io.ReadAll(s)
	if err == nil {
		_, err = stream.ParseRequest(b, &req)
	}
	if err != nil {
		s.Abort()
		return
	}
	resp := stream.Response{Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: "200"}}}
	b, err = resp.Append(nil)
	if err == nil {
		_, err = s.Write(append(b, req.Dest...))
	}
	if err != nil {
		s.Abort()
		return
	}
	_ = s.CloseWrite()
}

// within waits for a condition, in virtual time, and returns how long that took. After limit the test fails.
func (w *world) within(limit time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) >= limit {
			w.t.Fatalf("not within %v: %s; served: %v", limit, what, w.edges.holders())
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // fake time
	}
	return time.Since(began)
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // fake time
	synctest.Wait()
}

// isSteady reports whether every index is served once.
func (w *world) isSteady() bool {
	held := w.edges.holders()
	for _, workers := range held {
		if len(workers) != 1 {
			return false
		}
	}
	return len(held) == slots
}

// connected starts a supervisor and workers, and waits until every index is served and settled.
func (w *world) connected(workers ...tunnel.WorkerID) []*part {
	w.t.Helper()
	out := []*part{w.supervisor()}
	for _, id := range workers {
		out = append(out, w.worker(id))
	}
	w.within(time.Minute, "every index is served", w.isSteady)
	w.pass(time.Minute)
	if !w.isSteady() {
		w.t.Fatalf("not steady: %v", w.edges.holders())
	}
	return out
}

// held counts the indices of each worker.
func (w *world) held() map[tunnel.WorkerID]int {
	out := map[tunnel.WorkerID]int{}
	for _, c := range w.edges.live() {
		out[c.worker]++
	}
	return out
}

// visitors sends a request over each live connection every 500 ms. The result counts requests, and those that failed. Like an edge, it
// sends a request again that met a connection at the moment of its goodbye.
func (w *world) visitors() (end func() (sent, failed int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var sent, failed int
	var last error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, c := range w.edges.live() {
				sent++
				err := c.request(context.Background())
				if err != nil && w.edges.saidGoodbye(c) {
					err = w.edges.live()[0].request(context.Background())
				}
				if err != nil {
					failed++
					last = fmt.Errorf("%v: index %d on %s: %w", time.Now().UTC(), c.index, c.worker, err)
				}
			}
			time.Sleep(500 * time.Millisecond) //nolint:forbidigo // fake time
		}
	}()
	return func() (int, int) {
		cancel()
		<-done
		if last != nil {
			w.t.Logf("last failed request: %v", last)
		}
		return sent, failed
	}
}

// unserved watches the indices until end is called, which returns the longest time without a connection of each index that had any.
func (w *world) unserved() (end func() map[tunnel.ConnIndex]time.Duration) {
	const every = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	longest, current := map[tunnel.ConnIndex]time.Duration{}, map[tunnel.ConnIndex]time.Duration{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			held := w.edges.holders()
			for i := range tunnel.ConnIndex(slots) {
				if len(held[i]) > 0 {
					current[i] = 0
					continue
				}
				current[i] += every
				longest[i] = max(longest[i], current[i])
			}
			time.Sleep(every) //nolint:forbidigo // fake time
		}
	}()
	return func() map[tunnel.ConnIndex]time.Duration {
		cancel()
		<-done
		return longest
	}
}

// worst is the largest value.
func worst(gaps map[tunnel.ConnIndex]time.Duration) time.Duration {
	return slices.Max(append(slices.Collect(maps.Values(gaps)), 0))
}

// connectors are the connector ids of the live connections.
func (w *world) connectors() map[tunnel.ConnectorID]bool {
	out := map[tunnel.ConnectorID]bool{}
	for _, c := range w.edges.live() {
		out[c.connector] = true
	}
	return out
}

// journal holds what the processes log.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

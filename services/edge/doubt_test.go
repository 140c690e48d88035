package edge_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry/doubt"
)

// countingOrigin counts the requests that reached it, by target and by connection.
type countingOrigin struct {
	mu    sync.Mutex
	calls map[string]int
	by    map[tunnel.ConnIndex]int
}

func newCountingOrigin() *countingOrigin {
	return &countingOrigin{calls: make(map[string]int), by: make(map[tunnel.ConnIndex]int)}
}

// script serves the requests of one connection. A path of /slow takes the time that its query says.
func (o *countingOrigin) script(index tunnel.ConnIndex) script {
	return func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		_, _ = io.Copy(io.Discard, body) // a broken body is the edge's affair
		o.mu.Lock()
		o.calls[req.Dest]++
		o.by[index]++
		o.mu.Unlock()
		if _, text, slow := strings.Cut(req.Dest, "/slow?"); slow {
			d, err := time.ParseDuration(text)
			if err != nil {
				panic(err) // a wrong target in a test
			}
			select {
			case <-time.After(d):
			case <-st.Context().Done():
			}
		}
		respond(st, "200")
		_, _ = fmt.Fprint(st, index)
		end(st)
	}
}

// most is how often the target was requested that was requested most often, among those that contain text.
func (o *countingOrigin) most(text string) (target string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t, calls := range o.calls {
		if strings.Contains(t, text) && calls > n {
			target, n = t, calls
		}
	}
	return target, n
}

func (o *countingOrigin) served(index tunnel.ConnIndex) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.by[index]
}

// metric is the sum of a metric of the edge over its labels.
func (b *bench) metric(name string) (sum float64) {
	b.t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// connectVia is connect through a relay, which the test can silence.
func (b *bench) connectVia(listener int, index tunnel.ConnIndex, s script) *testkit.Relay {
	b.t.Helper()
	r := testkit.NewRelay(b.t, b.ConnectorAddrs()[listener])
	p := b.dialTo(r.Addr, 0)
	if _, err := p.register(b.request(index)); err != nil {
		b.t.Fatalf("register: %v", err)
	}
	p.serve(s)
	return r
}

// traffic is a load of requests with different targets.
type traffic struct {
	b      *bench
	method string
	work   sync.WaitGroup

	mu      sync.Mutex
	slowest time.Duration
	sent    int
	failed  []string
}

// start sends requests one after another on each of n visitors' connections until ctx ends.
func (r *traffic) start(ctx context.Context, n int) {
	for visitor := range n {
		r.work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				r.send(fmt.Sprintf("/%s-%d-%d", r.method, visitor, i))
			}
		})
	}
}

func (r *traffic) send(target string) {
	var body io.Reader
	if r.method == http.MethodPost {
		body = strings.NewReader("x")
	}
	req, err := http.NewRequestWithContext(r.b.t.Context(), r.method, r.b.PublicURL()+target, body)
	if err != nil {
		r.b.t.Error(err)
		return
	}
	began := time.Now()
	result := "ok"
	resp, err := r.b.client.Do(req)
	switch {
	case err != nil:
		result = err.Error()
	case resp.StatusCode != http.StatusOK:
		result = resp.Status
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // the status counts
		_ = resp.Body.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent++
	r.slowest = max(r.slowest, time.Since(began))
	if result != "ok" {
		r.failed = append(r.failed, target+": "+result)
	}
}

func (r *traffic) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

// TestDarkConnectionUnderLoad: one of two connections goes dark. Requests that may be sent again are, after a moment; others wait for
// the connection and are never executed twice; and when it shows life, it is used again.
func TestDarkConnectionUnderLoad(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	o := newCountingOrigin()
	relay := b.connectVia(0, 0, o.script(0))
	b.connect(1, 1, o.script(1))
	gets, posts := &traffic{b: b, method: http.MethodGet}, &traffic{b: b, method: http.MethodPost}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gets.start(ctx, 8)
	posts.start(ctx, 2)
	testkit.Eventually(t, "both connections serve", func() bool { return o.served(0) > 20 && o.served(1) > 20 })

	relay.Silence(true)
	testkit.Eventually(t, "the connection is in doubt", func() bool { return b.metric("culvert_edge_connections_in_doubt") == 1 })
	before := gets.count()
	testkit.Eventually(t, "requests are served meanwhile", func() bool { return gets.count() > before+200 })
	relay.Silence(false)
	testkit.Eventually(t, "the connection is trusted again", func() bool { return b.metric("culvert_edge_connections_in_doubt") == 0 })
	served := o.served(0)
	testkit.Eventually(t, "the connection serves again", func() bool { return o.served(0) > served+20 })
	cancel()
	gets.work.Wait()
	posts.work.Wait()

	if len(gets.failed) > 0 || len(posts.failed) > 0 {
		t.Errorf("failed: %q, %q", gets.failed, posts.failed)
	}
	if target, n := o.most("/POST"); n > 1 {
		t.Errorf("%s was executed %d times", target, n)
	}
	if n := b.metric("culvert_edge_request_doubt_retries_total"); n == 0 {
		t.Error("no request was sent again")
	}
	t.Logf("%d GET, the slowest in %v; %d POST, the slowest in %v; %v sent again", gets.sent, gets.slowest, posts.sent, posts.slowest,
		b.metric("culvert_edge_request_doubt_retries_total"))
}

// TestSlowOriginIsNotRepeated: however long an origin takes, a connection whose transport responds is not in doubt. The transports of both
// ends run here, so an attempt during which this process had to wait for a processor says nothing, and is made again.
func TestSlowOriginIsNotRepeated(t *testing.T) {
	t.Parallel()
	for attempt := 1; ; attempt++ {
		executed, doubts, stall := slowRequests(t)
		if executed == 4 && doubts == 0 {
			return
		}
		if stall < doubt.After/5 || attempt == 20 {
			t.Fatalf("4 requests were executed %d times, with %v doubts about living connections; the longest stall was %v, attempt %d",
				executed, doubts, stall, attempt)
		}
	}
}

// slowRequests sends four requests to a slow origin. stall is the longest time that this process had no processor.
func slowRequests(t *testing.T) (executed int, doubts float64, stall time.Duration) {
	b := start(t, nil)
	o := newCountingOrigin()
	b.connect(0, 0, o.script(0))
	b.connect(1, 1, o.script(1))
	watched := watchStalls()
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			if resp, _ := b.get("/slow?3s"); resp.StatusCode != http.StatusOK {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	visitors.Wait()
	_, executed = o.most("/slow")
	return executed, b.metric("culvert_edge_connection_doubts_total"), watched()
}

// watchStalls measures, until stop is called, by how much a timer was late at most.
func watchStalls() (stop func() time.Duration) {
	const every = 5 * time.Millisecond
	done, longest := make(chan struct{}), make(chan time.Duration)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		var most time.Duration
		for last := time.Now(); ; {
			select {
			case <-done:
				longest <- most
				return
			case <-tick.C:
			}
			now := time.Now()
			most = max(most, now.Sub(last)-every)
			last = now
		}
	}()
	return func() time.Duration { close(done); return <-longest }
}

// TestDoubtWithoutAnotherConnection: a request that waits on the only connection goes to the next one as soon as there is one.
func TestDoubtWithoutAnotherConnection(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	o := newCountingOrigin()
	relay := b.connectVia(0, 0, o.script(0))
	if resp, _ := b.get("/first"); resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	relay.Silence(true)
	done := make(chan string, 1)
	go func() {
		_, body := b.get("/waits")
		done <- string(body)
	}()
	testkit.Eventually(t, "the connection is in doubt", func() bool { return b.metric("culvert_edge_connections_in_doubt") == 1 })
	select {
	case body := <-done:
		t.Fatalf("a response %q over a dark connection", body)
	default:
	}
	b.connect(1, 1, o.script(1))
	if body := testkit.Receive(t, "the response", done); body != "1" {
		t.Errorf("served by %q, want the new connection", body)
	}
	if n := o.served(1); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

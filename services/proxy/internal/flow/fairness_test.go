package flow_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// TestAHangingOriginStarvesNobody fills what a rule gets while its origin hangs, and then serves others: another tunnel, and another rule
// of the same tunnel. It prints the times of their requests.
func TestAHangingOriginStarvesNobody(t *testing.T) {
	const most = 100
	over := make(chan struct{})
	var inside atomic.Int64
	hanging := httpOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		inside.Add(1)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})
	defer close(over)
	quick := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine\n") })
	rules := fmt.Sprintf("ingress:\n- {hostname: hang.example.com, service: %q}\n- {service: %q}\n", hanging, quick)
	for _, tc := range []struct {
		name   string
		limits flow.Limits
		other  tunnel.ID // that of the quick requests
		kept   int64     // places that the hanging origin gets
	}{
		{"another rule of the tunnel", flow.Limits{Flows: most}, tunnel.ID{1}, most * 3 / 4},
		{"another rule of a tunnel with a limit", flow.Limits{Flows: 10 * most, FlowsPerTunnel: most}, tunnel.ID{1}, most * 3 / 4},
		{"another tunnel", flow.Limits{Flows: most}, tunnel.ID{2}, most * 3 / 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inside.Store(0)
			table, err := router.New(compile(t, rules), opener.New(slog.New(slog.DiscardHandler), nil))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			h := newHandler(flow.Config{Limits: tc.limits}, table, slog.New(slog.DiscardHandler), nil)
			ask := func(id tunnel.ID, host string) *call {
				r := get("GET", "/")
				r.Metadata[1].Val = host
				head, err := r.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				c := startMeta(t, h, link.Meta{Tunnel: id})
				c.sendAll(string(head))
				return c
			}
			// The others have one request in progress all the time, as sites do that are in use.
			var failed atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						began := time.Now()
						c := ask(tc.other, "quick.example.com")
						a := c.finish()
						c.wait()
						mu.Lock()
						took = append(took, time.Since(began))
						mu.Unlock()
						if a.status != "200" || a.body != "fine\n" {
							failed.Add(1)
							t.Errorf("a request to the quick origin: %+v", a)
							return
						}
					}
				})
			}
			served := func(n int) {
				testkit.Eventually(t, fmt.Sprint(n, " quick requests"), func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(took) >= n || failed.Load() > 0
				})
			}
			served(20)
			var open []*call
			results := make(chan response, 3*most)
			refused := 0
			for range 2 * most {
				before := inside.Load()
				c := ask(tunnel.ID{1}, "hang.example.com")
				open = append(open, c)
				go func() { results <- c.finish() }()
				testkit.Eventually(t, "a request hangs or is refused", func() bool {
					select {
					case a := <-results:
						if refused++; a.status != "503" || a.err == "" || !contains(a.pairs, "Retry-After: 1") {
							t.Errorf("a further request to the hanging origin: %+v, want 503 with Retry-After", a)
						}
						return true
					default:
						return inside.Load() > before
					}
				})
			}
			served(2000)
			close(stop)
			wg.Wait()
			if n := inside.Load(); n > tc.kept || n < tc.kept-3 {
				t.Errorf("the hanging origin has %d requests, want three quarters of %d", n, most)
			}
			if n := inside.Load(); int(n)+refused != len(open) {
				t.Errorf("%d requests hang and %d were refused of %d", n, refused, len(open))
			}
			slices.Sort(took)
			t.Logf("%d requests beside a hanging origin with %d: %d failed, median %v, p99 %v", len(took), inside.Load(), failed.Load(),
				took[len(took)/2], took[len(took)*99/100])
			for _, c := range open {
				c.cancel()
			}
			for range len(open) - refused {
				testkit.Receive(t, "the end of a request that hung", results)
			}
		})
	}
}

// TestRefusalsForWantOfPlacesHaveARetryAfter for each of the bounds.
func TestRefusalsForWantOfPlacesHaveARetryAfter(t *testing.T) {
	for limits, want := range map[flow.Limits]string{
		{Flows: -1}:                      "too many requests at a time",
		{Flows: 100, FlowsPerTunnel: -1}: "too many requests of this tunnel",
	} {
		a := do(t, serveWith(t, rules(t, "http_status:200"), flow.Config{Limits: limits}), get("GET", "/"), "")
		if a.status != "503" || !strings.Contains(a.err, want) || !contains(a.pairs, "Retry-After: 1") {
			t.Errorf("%+v: %+v, want 503 with Retry-After", limits, a)
		}
	}
}

package flow_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// hanging serves a rule with an origin that responds only when it is told to, and perhaps with another one.
func hanging(t *testing.T, actions string, others ...string) (b balanced, entered chan struct{}) {
	t.Helper()
	entered, over := make(chan struct{}, 64), make(chan struct{})
	url := httpOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		select {
		case <-over:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(over) })
	services := fmt.Sprintf("%q", url)
	for _, o := range others {
		services += fmt.Sprintf(", %q", o)
	}
	return serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http_status:500
    services: [%s]
    actions: {%s}
    balance: {policy: round_robin, slowStart: 0s, panicThreshold: 0, eject: {failures: 2, for: 1h}}
`, services, actions), nil), entered
}

// TestAHangingOriginIsEjected: an attempt that ends by a timeout of the rule counts against its origin.
func TestAHangingOriginIsEjected(t *testing.T) {
	good := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine\n") })
	for _, timeout := range []string{"timeout: 200ms", "idleTimeout: 200ms"} {
		b, _ := hanging(t, timeout, good)
		seen := map[string]int{}
		testkit.Eventually(t, "the hanging origin is ejected", func() bool {
			seen[do(t, b, get("GET", "/"), "").status]++
			return b.states() == "ejected up"
		})
		if seen["504"] != 2 {
			t.Errorf("%s: responses %v, want two that were late", timeout, seen)
		}
		for range 10 {
			if a := do(t, b, get("GET", "/"), ""); a.status != "200" {
				t.Errorf("%s: %+v after the ejection", timeout, a)
			}
		}
	}
}

// TestVisitorsEjectNoOrigin: neither a visitor that leaves nor one that sends its body slowly counts against the origin.
func TestVisitorsEjectNoOrigin(t *testing.T) {
	b, entered := hanging(t, "timeout: 200ms")
	for range 5 { // leaves
		c := start2(t, b, get("GET", "/"), "")
		testkit.Receive(t, "a request at the origin", entered)
		c.cancel()
		c.wait()
	}
	for range 5 { // sends a part of the body and no more
		c := start(t, b, get("POST", "/", "Content-Length: 100"))
		_, _ = io.WriteString(c.send, "x")
		if a := c.finish(); a.status != "504" {
			t.Errorf("half a body: %+v", a)
		}
		c.wait()
	}
	if s := b.states(); s != "up" {
		t.Errorf("states %q, want the origin to be up", s)
	}
	for range 2 { // the whole body
		do(t, b, get("POST", "/", "Content-Length: 1"), "x")
	}
	if s := b.states(); s != "ejected" {
		t.Errorf("states %q after two whole requests without a response, want the origin to be ejected", s)
	}
}

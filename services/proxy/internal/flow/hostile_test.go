package flow_test

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// limited makes a handler with limits for one rule.
func limited(t testing.TB, limits flow.Limits, service string, settings ...string) *flow.Handler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(rules(t, service, settings...), opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return newHandler(flow.Config{SpoolLimit: 1 << 20, Limits: limits}, table, log, nil)
}

func TestSlowHeadIsGivenUp(t *testing.T) {
	h := limited(t, flow.Limits{HeadTimeout: 20 * time.Millisecond}, "http_status:204")
	r := get("GET", "/")
	head, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string][]byte{"signature": head[:6], "half": head[:len(head)/2], "all but one byte": head[:len(head)-1]} {
		t.Run(name, func(t *testing.T) {
			c := startRaw(t, h)
			if _, err := c.send.Write(part); err != nil {
				t.Fatal(err)
			}
			if a := c.finish(); a.end == nil || a.status != "" {
				t.Errorf("response %+v, want a reset", a)
			}
			c.wait()
		})
	}
	t.Run("in time", func(t *testing.T) {
		c := startRaw(t, limited(t, flow.Limits{HeadTimeout: time.Hour}, "http_status:204"))
		for _, b := range head {
			if _, err := c.send.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if a := c.finish(); a.status != "204" || a.end != nil {
			t.Errorf("response %+v, want 204", a)
		}
	})
}

func TestHeadSizeIsBounded(t *testing.T) {
	h := limited(t, flow.Limits{HeadBytes: 16 << 10}, "http_status:204")
	if a := do(t, h, get("GET", "/", "X: "+strings.Repeat("v", 8<<10)), ""); a.status != "204" {
		t.Errorf("response to a head within the limit: %+v", a)
	}
	a := do(t, h, get("GET", "/", "X: "+strings.Repeat("v", 17<<10)), "")
	if a.status != "431" || a.err == "" {
		t.Errorf("response to a head beyond the limit: %+v, want 431", a)
	}
}

func TestFlowsAreBounded(t *testing.T) {
	h := limited(t, flow.Limits{Flows: 2}, "http_status:204")
	first, second := startRaw(t, h), startRaw(t, h)
	testkit.Eventually(t, "two flows run", func() bool { return h.InFlight() == 2 })
	a := do(t, h, get("GET", "/"), "")
	if a.status != "503" || a.err == "" || a.end != nil || len(a.pairs) != 1 || a.pairs[0] != "Retry-After: 1" {
		t.Errorf("response to the third: %+v, want a refusal with 503", a)
	}
	_ = first.send.Close()
	first.finish()
	first.wait()
	if a := do(t, h, get("GET", "/"), ""); a.status != "204" {
		t.Errorf("response after one has ended: %+v", a)
	}
	_ = second.send.Close()
	second.finish()
}

// TestTunnelsAreBounded fills the limit of one tunnel with requests that hang, and sends one of another tunnel.
func TestTunnelsAreBounded(t *testing.T) {
	h := limited(t, flow.Limits{Flows: 8, FlowsPerTunnel: 2}, "http_status:204")
	slow := link.Meta{Tunnel: tunnel.ID{1}}
	first, second := startMeta(t, h, slow), startMeta(t, h, slow)
	testkit.Eventually(t, "two flows run", func() bool { return h.InFlight() == 2 })
	respond := func(m link.Meta) response {
		req := get("GET", "/")
		head, err := req.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := startMeta(t, h, m)
		c.sendAll(string(head))
		return c.finish()
	}
	if a := respond(slow); a.status != "503" || !strings.Contains(a.err, "of this tunnel") || a.end != nil {
		t.Errorf("response to the third of the tunnel: %+v, want a refusal with 503", a)
	}
	if a := respond(link.Meta{Tunnel: tunnel.ID{2}}); a.status != "204" {
		t.Errorf("response of another tunnel: %+v", a)
	}
	_ = first.send.Close()
	first.finish()
	first.wait()
	if a := respond(slow); a.status != "204" {
		t.Errorf("response after one has ended: %+v", a)
	}
	_ = second.send.Close()
	second.finish()
}

// openFiles is the number of this process's descriptors; it is not known everywhere.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// TestFloodLeavesNothingBehind runs many broken flows at a time, for each kind of origin, and looks at what is left.
func TestFloodLeavesNothingBehind(t *testing.T) {
	const rounds, parallel = 12, 16 // each of the six attacks twice
	swallow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", 256<<10))
	})
	for _, o := range httpOrigins(t, swallow) {
		t.Run(o.name, func(t *testing.T) {
			h := limited(t, flow.Limits{Flows: 1000, HeadTimeout: time.Minute}, o.service, append(o.settings, "keepAliveTimeout: 50ms")...)
			do(t, h, get("GET", "/"), "") // a first connection
			runtime.GC()
			goroutines, files := runtime.NumGoroutine(), openFiles()
			var wg sync.WaitGroup
			for range parallel {
				wg.Go(func() {
					for i := range rounds {
						attack(t, h, i)
					}
				})
			}
			wg.Wait()
			if n := h.InFlight(); n != 0 {
				t.Errorf("%d flows run on", n)
			}
			// Idle connections of the pool may stay, and each has its goroutines at both ends.
			const slack = 8
			testkit.Eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines+slack })
			testkit.Eventually(t, "descriptors are closed", func() bool { return openFiles() <= files+slack })
			t.Logf("%d flows: goroutines %d before, %d after; descriptors %d before, %d after",
				rounds*parallel, goroutines, runtime.NumGoroutine(), files, openFiles())
		})
	}
}

// attack is one hostile flow, run to its end.
func attack(t *testing.T, h *flow.Handler, kind int) {
	r := rpcRequest("/")
	head, err := r.Append(nil)
	if err != nil {
		t.Error(err)
		return
	}
	framed := framedRequest(get("POST", "/"), "X")
	framedHead, err := framed.Append(nil)
	if err != nil {
		t.Error(err)
		return
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := &memStream{in: inR, out: outW}
	done := make(chan struct{})
	ctx := t.Context()
	go func() {
		defer close(done)
		h.ServeStream(ctx, link.Meta{}, s)
		s.Abort()
	}()
	switch kind % 6 {
	case 0: // garbage
		_, _ = inW.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	case 1: // half a head, then a reset
		_, _ = inW.Write(head[:len(head)/2])
	case 2: // a request that is given up at once
		_, _ = inW.Write(head)
	case 3: // some body, then a reset
		_, _ = inW.Write(append(head, make([]byte, 32<<10)...))
	case 4: // broken frames
		_, _ = inW.Write(append(framedHead, 9, 9, 9, 9))
	case 5: // a reader that leaves in the middle of the response
		_, _ = inW.Write(head)
		_ = inW.Close()
		_, _ = io.CopyN(io.Discard, outR, 32<<10)
	}
	_ = inW.CloseWithError(errAborted)
	_ = outR.CloseWithError(errAborted)
	<-done
}

// BenchmarkFramedAnswer is the cost of frames: a response of unknown length with and without them.
func BenchmarkFramedAnswer(b *testing.B) {
	url := httpOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 32<<10)
		for range 32 {
			_, _ = w.Write(block)
		}
	})
	h := limited(b, flow.Limits{}, url)
	for _, accept := range []string{"", "frames", "frames,interim"} {
		b.Run("accept="+accept, func(b *testing.B) {
			r := accepting(get("GET", "/"), accept)
			req, err := r.Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			for b.Loop() {
				s := &cannedStream{in: req}
				h.ServeStream(b.Context(), link.Meta{}, s)
				if !s.closed || s.sent < 1<<20 {
					b.Fatalf("response of %d bytes", s.sent)
				}
			}
		})
	}
}

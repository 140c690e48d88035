package flow_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// What may be wrong with an origin.
const (
	well int32 = iota
	hangs
	fails
)

// illOrigin is an origin of WebSockets and gRPC calls on a fixed address that can be made ill.
type illOrigin struct {
	t    *testing.T
	addr string
	ill  atomic.Int32
	over chan struct{}
	srv  *httptest.Server
}

func newIllOrigin(t *testing.T, addr string) *illOrigin {
	t.Helper()
	o := &illOrigin{t: t, addr: addr, over: make(chan struct{})}
	o.start()
	t.Cleanup(func() { close(o.over); o.kill() })
	return o
}

func (o *illOrigin) start() {
	o.t.Helper()
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.srv = httptest.NewUnstartedServer(o)
	o.srv.Config.Protocols = new(http.Protocols)
	o.srv.Config.Protocols.SetHTTP1(true)
	o.srv.Config.Protocols.SetUnencryptedHTTP2(true)
	_ = o.srv.Listener.Close()
	o.srv.Listener = l
	o.srv.Start()
}

func (o *illOrigin) kill() {
	if o.srv != nil {
		o.srv.CloseClientConnections()
		o.srv.Close()
		o.srv = nil
	}
}

func (o *illOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch o.ill.Load() {
	case hangs:
		select {
		case <-r.Context().Done():
		case <-o.over:
		}
		return
	case fails:
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if r.Header.Get("Upgrade") != "" {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, io.LimitReader(rw, 5))
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(message(o.addr))
	w.Header().Set("Grpc-Status", "0")
}

// newWebSocket opens a WebSocket and uses it; it gives what went wrong.
func newWebSocket(t *testing.T, b balanced) string {
	r := get("GET", "/", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	r.Type = stream.WebSocket
	c := start(t, b, r)
	defer func() { c.cancel(); c.wait() }()
	resp, body, err := c.head()
	if err != nil || len(resp.Metadata) == 0 || resp.Metadata[0].Val != "101" {
		return fmt.Sprintf("%+v, %v", resp, err)
	}
	_, _ = io.WriteString(c.send, "hello")
	buf := make([]byte, 5)
	if _, err := io.ReadFull(body, buf); err != nil || string(buf) != "hello" {
		return fmt.Sprintf("echo %q, %v", buf, err)
	}
	return ""
}

func newCall(t *testing.T, b balanced) string {
	if a := do(t, b, rpcRequest("/unary"), string(message("x"))); a.status != "200" || a.end != nil {
		return fmt.Sprintf("%+v", a)
	}
	return ""
}

// TestBalanceNewStreams: behind a rule with three origins one is killed and revived, hangs, responds with 500, or its name resolves to
// another address. New WebSockets do not fail; new gRPC calls, which cannot be repeated once an origin may have seen them, fail only until
// the ill origin is out.
func TestBalanceNewStreams(t *testing.T) {
	const failures, clients = 2, 2
	for _, kind := range []struct {
		name, scheme string
		open         func(t *testing.T, b balanced) string
		most         int64 // new streams that may fail in one illness
	}{
		{"websocket", "http", newWebSocket, 0},
		{"gRPC", "h2c", newCall, failures + 2*clients},
	} {
		t.Run(kind.name, func(t *testing.T) {
			port := testkit.FreeTCP(t).Port()
			var origins [4]*illOrigin
			for i := range origins {
				origins[i] = newIllOrigin(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(20 + i)}), port).String())
			}
			var third atomic.Int32
			third.Store(22)
			b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http_status:500
    services: ["%[1]s://127.0.0.20:%[2]d", "%[1]s://127.0.0.21:%[2]d", "%[1]s://app.test:%[2]d"]
    originRequest: {responseHeaderTimeout: 300ms}
    balance:
      resolve: 1s
      slowStart: 0s
      panicThreshold: 0
      healthCheck: {type: tcp, interval: 1s, rise: 1, fall: 1}
      eject: {failures: %[3]d, for: 1s}
`, kind.scheme, port, failures), func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(third.Load())})}, nil
			})
			testkit.Eventually(t, "all are up", func() bool { return b.states() == "up up up" })
			// during opens new streams while f runs, and gives how many there were and how many failed.
			during := func(f func()) (all, failed int64) {
				var n, bad atomic.Int64
				var first atomic.Pointer[string]
				over := make(chan struct{})
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						for {
							select {
							case <-over:
								return
							default:
							}
							n.Add(1)
							if text := kind.open(t, b); text != "" {
								bad.Add(1)
								first.CompareAndSwap(nil, &text)
							}
						}
					})
				}
				f()
				close(over)
				wg.Wait()
				if bad.Load() > kind.most {
					t.Errorf("%d of %d new streams failed, at most %d may; the first: %s", bad.Load(), n.Load(), kind.most, *first.Load())
				}
				return n.Load(), bad.Load()
			}
			ill := origins[1]
			for _, illness := range []struct {
				name       string
				begin, end func()
			}{
				{"killed", ill.kill, ill.start},
				{"hangs", func() { ill.ill.Store(hangs) }, func() { ill.ill.Store(well) }},
				{"responds with 500", func() { ill.ill.Store(fails) }, func() { ill.ill.Store(well) }},
			} {
				var out time.Duration
				all, failed := during(func() {
					began := time.Now()
					illness.begin()
					testkit.Eventually(t, "the origin is out", func() bool { return !strings.HasPrefix(b.states(), "up up") })
					out = time.Since(began)
				})
				illness.end()
				var back time.Duration
				more, failedMore := during(func() {
					began := time.Now()
					testkit.Eventually(t, "the origin is back", func() bool { return b.states() == "up up up" })
					back = time.Since(began)
				})
				t.Logf("one %s: out after %v, back %v after its end; of %d new streams %d failed", illness.name, out, back, all+more, failed+failedMore)
			}
			all, failed := during(func() {
				third.Store(23)
				testkit.Eventually(t, "the new address is in use", func() bool {
					return b.states() == "up up up" && b.table.Default().Rules()[0].Origins[2].Address == "127.0.0.23"
				})
			})
			origins[2].kill() // the former address
			for range 12 {
				if text := kind.open(t, b); text != "" {
					t.Errorf("a new stream after the former address was given up: %s", text)
				}
			}
			t.Logf("one resolves to another address: of %d new streams %d failed", all, failed)
			if failed > 0 {
				t.Errorf("%d of %d new streams failed when a name resolved to another address", failed, all)
			}
		})
	}
}

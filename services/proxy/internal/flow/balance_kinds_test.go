package flow_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

func TestWhatIsRepeated(t *testing.T) {
	var hits atomic.Int32
	bad := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hits.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "bad\n")
	})
	good := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s\n", r.Method, b)
	})
	gone := "http://" + testkit.FreeTCP(t).String()
	group := func(t *testing.T, more string, services ...string) balanced {
		return serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http_status:500
    services: [%s]
    balance: {panicThreshold: 0, eject: {failures: 0}%s}
`, strings.Join(services, ", "), more), nil)
	}
	backup := "{service: " + good + ", backup: true}"
	for _, tc := range []struct {
		name     string
		services []string
		more     string
		method   string
		body     string
		status   string
		want     string
	}{
		{"GET after a bad status", []string{bad, good}, "", "GET", "", "200", "GET \n"},
		{"POST after a bad status is not repeated", []string{bad, bad}, "", "POST", "x", "503", "bad\n"},
		{"POST after a refused connection", []string{gone, good}, "", "POST", "hello", "200", "POST hello\n"},
		{"GET after a refused connection", []string{gone, good}, "", "GET", "", "200", "GET \n"},
		{"all bad: the last response passes", []string{bad, bad}, "", "GET", "", "503", "bad\n"},
		{"one attempt only", []string{bad, backup}, ", retry: {attempts: 1}", "GET", "", "503", "bad\n"},
		{"status that is no failure", []string{bad, backup}, ", failureStatus: none", "GET", "", "503", "bad\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := group(t, tc.more, tc.services...)
			for range 2 { // round robin begins at either
				r := get(tc.method, "/")
				if tc.body != "" {
					r = get(tc.method, "/", fmt.Sprint("Content-Length: ", len(tc.body)))
				}
				if a := do(t, b, r, tc.body); a.status != tc.status || a.body != tc.want {
					t.Errorf("response %+v, want %s %q", a, tc.status, tc.want)
				}
			}
		})
	}
	t.Run("the budget ends", func(t *testing.T) {
		b := group(t, ", retry: {budget: 0}", bad, "{service: "+good+", backup: true}")
		failed := 0
		for range 30 {
			if do(t, b, get("GET", "/"), "").status != "200" {
				failed++
			}
		}
		if failed != 30 && failed != 20 {
			t.Errorf("%d of 30 requests were not repeated, want 20: the reserve is 10", failed)
		}
	})
}

// TestBalanceWebSocketsAndStreams kills one of two origins: new websockets and new byte streams find the other.
func TestBalanceWebSocketsAndStreams(t *testing.T) {
	echo := func() (addr string) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, rw)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	gone := testkit.FreeTCP(t).String()
	bad := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - hostname: app.example.com
    service: http_status:500
    services: [http://%[1]s, http://%[2]s, %[3]s]
    balance: {panicThreshold: 0}
  - service: http_status:500
    services: [tcp://%[1]s, tcp://%[2]s]
    balance: {panicThreshold: 0, healthCheck: {type: tcp, interval: 1s}}
`, echo(), gone, bad), nil)
	for range 20 {
		r := get("GET", "/", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
		r.Type = stream.WebSocket
		c := start(t, b, r)
		resp, body, err := c.head()
		if err != nil || resp.Metadata[0].Val != "101" {
			t.Fatalf("websocket: %+v, %v", resp, err)
		}
		_, _ = io.WriteString(c.send, "hello")
		buf := make([]byte, 5)
		if _, err := io.ReadFull(body, buf); err != nil || string(buf) != "hello" {
			t.Fatalf("echo %q, %v", buf, err)
		}
		c.cancel()
		c.wait()
	}
	for range 20 {
		r := get("GET", "/", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
		r.Type = stream.WebSocket
		r.Metadata[1].Val = "tcp.example.com"
		c := start(t, b, r)
		if resp, _, err := c.head(); err != nil || resp.Metadata[0].Val != "101" {
			t.Fatalf("byte stream: %+v, %v", resp, err)
		}
		c.cancel()
		c.wait()
	}
}

// healthServer is a gRPC server with the standard health service.
type healthServer struct {
	name    string
	serving atomic.Bool
}

func (s *healthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	status, answer := "0", []byte(s.name)
	if r.URL.Path == "/grpc.health.v1.Health/Check" {
		b, _ := io.ReadAll(r.Body)
		if string(b) != "\x00\x00\x00\x00\x05\x0a\x03app" {
			status = "5"
		}
		answer = []byte{8, 2}
		if s.serving.Load() {
			answer[1] = 1
		}
	}
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer))), answer...))
	w.Header().Set("Grpc-Status", status)
}

func TestBalanceGRPC(t *testing.T) {
	start := func(name string) (*healthServer, string, func()) {
		s := &healthServer{name: name}
		s.serving.Store(true)
		srv := httptest.NewUnstartedServer(s)
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		t.Cleanup(srv.Close)
		return s, "h2c://" + srv.Listener.Addr().String(), func() { srv.CloseClientConnections(); _ = srv.Listener.Close() }
	}
	first, firstURL, killFirst := start("one")
	_, secondURL, _ := start("two")
	b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http_status:500
    services: [%q, %q]
    balance: {slowStart: 0s, panicThreshold: 0, healthCheck: {type: grpc, service: app, interval: 1s, rise: 1, fall: 1}}
`, firstURL, secondURL), nil)
	try := func() response { return do(t, b, rpcRequest("/unary"), string(message("x"))) }
	call := func() string {
		a := try()
		if a.status != "200" {
			t.Errorf("call: %+v", a)
		}
		for _, name := range []string{"one", "two"} {
			if strings.Contains(a.body, name) {
				return name
			}
		}
		return ""
	}
	both := func() {
		t.Helper()
		testkit.Eventually(t, "both serve", func() bool { return call()+call() != "twotwo" })
	}
	both()
	first.serving.Store(false)
	testkit.Eventually(t, "the first is left out", func() bool { return b.states() == "down up" })
	for range 10 {
		if name := call(); name != "two" {
			t.Errorf("a call went to %q", name)
		}
	}
	first.serving.Store(true)
	testkit.Eventually(t, "the first is back", func() bool { return b.states() == "up up" })
	both()
	killFirst()
	testkit.Eventually(t, "the first is left out", func() bool {
		try() // one whose connection is lost under it may have been seen by the server, so it is not repeated
		return b.states() == "down up"
	})
	for range 10 {
		if name := call(); name != "two" {
			t.Errorf("a new stream went to %q after its server ended", name)
		}
	}
}

// TestBalanceHashByClient sends the requests of a visitor to one origin.
func TestBalanceHashByClient(t *testing.T) {
	url := func(name string) string {
		return httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	origins := fmt.Sprintf("%s, %s, %s", url("a"), url("b"), url("c"))
	const rule = "ingress:\n  - service: http_status:500\n    services: [%s]\n    balance: {policy: hash, hashBy: %q}\n"
	for by, header := range map[string]string{
		"client": "Cf-Connecting-Ip: 203.0.113.%d", "header:X-User": "X-User: u%d", "cookie:sid": "Cookie: x=1; sid=s%d",
	} {
		b := serveBalanced(t, fmt.Sprintf(rule, origins, by), nil)
		used := map[string]bool{}
		for user := range 20 {
			first := ""
			for range 4 {
				a := do(t, b, get("GET", "/", fmt.Sprintf(header, user)), "")
				if first == "" {
					first = a.body
				}
				if a.body != first || a.status != "200" {
					t.Errorf("%s: user %d went to %q, then to %q", by, user, first, a.body)
				}
			}
			used[first] = true
		}
		if len(used) != 3 {
			t.Errorf("%s: only %v were used", by, used)
		}
	}
}

// BenchmarkServeBalanced is BenchmarkServeStream/origin for a rule with several origins.
func BenchmarkServeBalanced(b *testing.B) {
	url := httpOrigin(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 200)) })
	req := smallRequest(b)
	set := compile(b, fmt.Sprintf("ingress:\n  - service: %[1]s\n    services: [%[1]s, %[1]s]\n", url))
	table, err := router.New(set, opener.New(slog.New(slog.DiscardHandler), nil))
	if err != nil {
		b.Fatal(err)
	}
	defer table.Close()
	h := newHandler(flow.Config{}, table, slog.New(slog.DiscardHandler), nil)
	b.ReportAllocs()
	for b.Loop() {
		s := &cannedStream{in: req}
		h.ServeStream(b.Context(), link.Meta{}, s)
		if !s.closed {
			b.Fatal("no whole response")
		}
	}
}

package flow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

func TestRefusals(t *testing.T) {
	h := serve(t, compile(t, `
ingress:
  - {hostname: status.example.com, service: "http_status:418"}
  - {hostname: guarded.example.com, service: "http_status:200", originRequest: {access: {required: true, teamName: t, audTag: [a]}}}
  - {hostname: ssh.example.com, service: "ssh://127.0.0.1:22"}
  - {hostname: sni.example.com, service: "https://127.0.0.1:1", originRequest: {matchSNItoHost: true}}
  - {service: "http_status:404"}
`), nil)
	on := func(host string, r stream.Request) stream.Request {
		r.Metadata[1].Val = host
		return r
	}
	typed := func(ty stream.Type) stream.Request {
		r := get("GET", "/")
		r.Type = ty
		return r
	}
	dest := func(d string) stream.Request {
		r := get("GET", "/")
		r.Dest = d
		return r
	}
	for _, tc := range []struct {
		name   string
		req    stream.Request
		status string
		err    string // beginning of the error text
	}{
		{"status", on("status.example.com", get("GET", "/")), "418", ""},
		{"catch-all", get("GET", "/"), "404", ""},
		{"guarded", on("guarded.example.com", get("GET", "/")), "403", ""},
		{"path that dodges the guard", on("guarded.example.com", get("GET", "/a/../b")), "403", ""},
		{"plain request to ssh", on("ssh.example.com", get("GET", "/")), "426", ""},
		{"websocket", typed(stream.WebSocket), "404", ""},
		{"guarded websocket", on("guarded.example.com", typed(stream.WebSocket)), "403", ""},
		{"header key with two colons", get("GET", "/", "X:Y: v"), "404", ""},
		{
			"bad content-length", get("POST", "/", "Content-Length: 1x"), "400",
			`Error setting content-length: strconv.ParseInt: parsing "1x": invalid syntax`,
		},
		{"two content-lengths", get("POST", "/", "Content-Length: 1", "Content-Length: 2"), "400", "Error setting content-length"},
		{"bad header name", get("GET", "/", "X Y: v"), "400", "header name is malformed"},
		{"line break in a header", get("GET", "/", "X: a\r\nEvil: 1"), "400", "header value is malformed: X"},
		{"bad method", get("G T", "/"), "400", "method"},
		{"CONNECT", get("CONNECT", "/"), "400", "method"},
		{"bad host", on("a\nb", get("GET", "/")), "400", "host is malformed"},
		{"bad dest", dest("http://[::1"), "400", "destination is malformed"},
		{"bad escape", dest("http://x/%zz"), "400", "destination is malformed"},
		{"control character", dest("http://x/a\x01"), "400", "destination holds a control character"},
		{"no URL", dest("x"), "400", "destination is not a URL"},
		{"host unusable as a TLS name", on("sni.example.com", get("GET", "/")), "502", "Unable to reach the origin service"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "header key with two colons" {
				tc.req.Metadata[2].Key = "HttpHeader:X:Y"
				tc.status, tc.err = "400", "header Key: HttpHeader:X:Y malformed"
			}
			a := do(t, h, tc.req, "")
			if a.status != tc.status || !strings.HasPrefix(a.err, tc.err) || (a.err != "") != (tc.err != "") || a.end != nil {
				t.Errorf("response %+v, want status %s, error %q", a, tc.status, tc.err)
			}
		})
	}
}

func TestBrokenHeads(t *testing.T) {
	h := serve(t, ingress.Default503(), nil)
	req := get("GET", "/")
	whole, err := req.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	unknown := bytes.Clone(whole)
	unknown[24] = 7 // prologue, segment table, root pointer, then the type
	huge := get("GET", "/", "X: "+strings.Repeat("x", 2<<20))
	big, err := huge.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, status string
		bytes        []byte
	}{
		{"nothing", "400", nil},
		{"cut short", "400", whole[:len(whole)-9]},
		{"other signature", "400", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"garbage after the prologue", "400", append(bytes.Clone(whole[:stream.PrologueSize]), bytes.Repeat([]byte{0xff}, 64)...)},
		{"too large", "431", big},
		{"unknown type", "400", unknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := startRaw(t, h)
			c.sendAll(string(tc.bytes))
			if a := c.finish(); a.status != tc.status || a.err == "" {
				t.Errorf("response %+v, want an error with status %s", a, tc.status)
			}
			c.wait()
		})
	}
}

func TestLargeHeadPasses(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, len(r.Header.Get("X-Big")))
	})
	a := do(t, serve(t, rules(t, url), nil), get("GET", "/", "X-Big: "+strings.Repeat("x", 100<<10)), "")
	if a.body != fmt.Sprint(100<<10) {
		t.Errorf("response %+v", a)
	}
}

func TestHopByHopHeaders(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			w.Header().Add("Saw", name)
		}
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.Header().Set("X-Private", "1")
		w.Header().Set("Connection", "X-Private, Content-Length")
		w.Header().Set("Cf-Int-Tracing", "1")
		w.Header().Set("X-Public", "1")
		_, _ = io.WriteString(w, "ok")
	})
	a := do(t, serve(t, rules(t, url), nil), get("GET", "/",
		"Connection: close, X-Mine, X-Forwarded-For", "X-Mine: 1", "X-Forwarded-For: 203.0.113.9", "Keep-Alive: 1",
		"Upgrade: h2c", "Proxy-Connection: keep-alive", "Te: trailers, deflate", "Trailer: X",
		"Cf-Warp-Tag-Zone: spoofed", "cf_warp_tag_id: spoofed", "Cf-Cloudflared-Foo: 1", "X-Other: 1"), "")
	saw := a.values("Saw")
	for _, name := range []string{"X-Mine", "Keep-Alive", "Upgrade", "Proxy-Connection", "Trailer", "Cf_warp_tag_id", "Cf-Cloudflared-Foo"} {
		if contains(saw, name) {
			t.Errorf("origin saw %s", name)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Other", "Te", "Cf-Warp-Tag-Id", "Cf-Warp-Tag-Zone"} {
		if !contains(saw, name) {
			t.Errorf("origin did not see %s", name)
		}
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Authenticate", "Connection", "X-Private", "Cf-Int-Tracing"} {
		if v := a.values(name); v != nil {
			t.Errorf("response has %s: %v", name, v)
		}
	}
	if a.values("X-Public") == nil || a.values("Content-Length") == nil {
		t.Errorf("response lacks headers: %+v", a)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func TestTargets(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Method+" "+r.RequestURI) })
	h := serve(t, rules(t, url), nil)
	for _, tc := range []struct{ method, dest, want string }{
		{"GET", "https://x/a%2Fb|c?", "GET /a%2Fb%7Cc?"},
		{"GET", "https://x", "GET /"},
		{"GET", "https://x?q=a b|\"é", "GET /?q=a%20b|\"é"},
		{"GET", "https://x/a[1]'(b)!$&;=:@,~_.-*+#f?x", "GET /a[1]'(b)!$&;=:@,~_.-*+"},
		{"GET", "https://x/é\"<>\\^`{}", "GET /%C3%A9%22%3C%3E%5C%5E%60%7B%7D"},
		{"OPTIONS", "https://x*", "OPTIONS *"},
		{"GET", "//a//b", "GET //a//b"},
		{"GET", "", "GET /"},
	} {
		r := get(tc.method, "")
		r.Dest = tc.dest
		if a := do(t, h, r, ""); a.body != tc.want && (tc.method != "OPTIONS" || a.status != "200") {
			t.Errorf("%s %q: origin saw %q, want %q (%+v)", tc.method, tc.dest, a.body, tc.want, a)
		}
	}
}

func TestSpoolLimits(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%d %d", r.ContentLength, n)
	})
	h := serve(t, rules(t, url, "disableChunkedEncoding: true"), nil)
	for _, tc := range []struct {
		size         int
		status, body string
	}{{0, "200", "0 0"}, {1, "200", "1 1"}, {1 << 20, "200", "1048576 1048576"}, {1<<20 + 1, "413", ""}} {
		a := do(t, h, get("POST", "/", "Transfer-Encoding: chunked"), strings.Repeat("x", tc.size))
		if a.status != tc.status || a.body != tc.body || a.end != nil {
			t.Errorf("%d bytes: %+v, want %s %q", tc.size, a, tc.status, tc.body)
		}
	}
}

func TestShortRequestBodyIsNotSentAsWhole(t *testing.T) {
	ended := make(chan error, 1)
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		ended <- err
	})
	a := do(t, serve(t, rules(t, url), nil), get("POST", "/", "Content-Length: 10"), "short")
	if a.status != "400" || !strings.HasPrefix(a.err, "Incoming request ended abruptly: ") {
		t.Errorf("response %+v", a)
	}
	if err := testkit.Receive(t, "origin's request ended", ended); err == nil {
		t.Error("origin took the short body as whole")
	}
}

// panicking is a link stream that panics in the middle of a response.
type panicking struct{ *memStream }

func (panicking) Buffer([]byte) error { panic("boom") }

func TestPanicEndsOneFlowOnly(t *testing.T) {
	var l logs
	h := serve(t, rules(t, "http_status:200"), &l)
	c := start2(t, link.HandlerFunc(func(ctx context.Context, m link.Meta, s link.Stream) {
		h.ServeStream(ctx, m, panicking{s.(*memStream)})
	}), get("GET", "/"), "")
	if a := c.finish(); !errors.Is(a.end, errAborted) {
		t.Errorf("response %+v, want an abort", a)
	}
	c.wait()
	if !strings.Contains(l.String(), `"panic":"boom"`) || !strings.Contains(l.String(), "stack") {
		t.Errorf("log: %s", l.String())
	}
	if a := do(t, h, get("GET", "/"), ""); a.status != "200" || h.InFlight() != 0 {
		t.Errorf("next flow: %+v, %d in flight", a, h.InFlight())
	}
}

func TestRepeatedFaultsAreThinnedOut(t *testing.T) {
	var l logs
	h := serve(t, rules(t, "http://127.0.0.1:1"), &l)
	for range 20 {
		if a := do(t, h, get("GET", "/"), ""); a.status != "502" || !strings.HasSuffix(a.err, "dial tcp: connect: connection refused") {
			t.Fatalf("response %+v", a)
		}
	}
	if n := strings.Count(l.String(), "request failed"); n != 1 {
		t.Errorf("%d lines for 20 equal faults, want 1", n)
	}
	if !strings.Contains(l.String(), "127.0.0.1:1") {
		t.Errorf("the local log hides the address: %s", l.String())
	}
}

func TestTimeoutIs504(t *testing.T) {
	release := make(chan struct{})
	url := httpOrigin(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	a := do(t, serve(t, rules(t, url, "responseHeaderTimeout: 20ms"), nil), get("GET", "/"), "")
	if a.status != "504" || !strings.HasSuffix(a.err, ": timeout") {
		t.Errorf("response %+v", a)
	}
}

func TestHelloWorld(t *testing.T) {
	h := serve(t, rules(t, "hello_world"), nil)
	a := do(t, h, get("POST", "/x?<script>", "Content-Length: 8", "X-Evil: <b>"), "<i>hi</i>"[:8])
	for _, want := range []string{"Culvert", "POST", "app.example.com", "&lt;i&gt;hi", "&lt;b&gt;", "/x?"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	if strings.Contains(a.body, "<script>") || strings.Contains(a.body, "<b>Xevil") || a.end != nil {
		t.Errorf("page is not escaped: %s", a.body)
	}
	if a := do(t, h, get("GET", "/_health"), ""); a.body != "ok\n" {
		t.Errorf("/_health: %+v", a)
	}
	if a := do(t, h, get("HEAD", "/"), ""); a.body != "" || a.status != "200" {
		t.Errorf("HEAD: %+v", a)
	}
	var up struct{ StartTime, Uptime string }
	if a := do(t, h, get("GET", "/uptime"), ""); json.Unmarshal([]byte(a.body), &up) != nil || up.Uptime == "" {
		t.Errorf("/uptime: %+v", a)
	}
	c := start2(t, h, get("GET", "/sse?freq=1ms"), "")
	_, body, err := c.head()
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("data: 0\n\ndata: 1\n\n"))
	if _, err := io.ReadFull(body, first); err != nil || string(first) != "data: 0\n\ndata: 1\n\n" {
		t.Errorf("/sse: %q, %v", first, err)
	}
	c.cancel()
	_ = c.recv.Close() // an event may be under way
	c.wait()
}

func TestConnectorTagFollowsTheFlow(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("Cf-Warp-Tag-Id")) })
	h := serve(t, rules(t, url), nil)
	for _, id := range []tunnel.ConnectorID{{1}, {1}, {2}} {
		withID := link.HandlerFunc(func(ctx context.Context, _ link.Meta, s link.Stream) { h.ServeStream(ctx, link.Meta{Connector: id}, s) })
		if a := do(t, withID, get("GET", "/"), ""); a.body != id.String() {
			t.Errorf("tag %q, want %s", a.body, id)
		}
	}
}

func TestSwapKeepsRunningFlowsAndPools(t *testing.T) {
	release := make(chan struct{})
	old := httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "old")
	})
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(rules(t, old), opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	h := newHandler(flow.Config{}, table, log, prometheus.NewRegistry())
	c := start2(t, h, get("GET", "/"), "")
	_, body, err := c.head()
	if err != nil {
		t.Fatal(err)
	}
	before := table.Default().Routes()[0].Origin
	if err := table.Swap(tunnel.ID{}, rules(t, old)); err != nil {
		t.Fatal(err)
	}
	if table.Default().Routes()[0].Origin != before {
		t.Error("an unchanged service got a new pool")
	}
	if err := table.Swap(tunnel.ID{}, rules(t, "http_status:204")); err != nil {
		t.Fatal(err)
	}
	if err := table.Swap(tunnel.ID{}, rules(t, old, "caPool: /does/not/exist")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Swap with a missing CA file: %v", err)
	}
	if a := do(t, h, get("GET", "/"), ""); a.status != "204" {
		t.Errorf("new flow: %+v", a)
	}
	close(release)
	if b, err := io.ReadAll(body); string(b) != "old" || err != nil {
		t.Errorf("running flow: %q, %v", b, err)
	}
	c.wait()
}

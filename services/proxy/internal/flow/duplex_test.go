package flow_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// streamLimits are short enough for tests that wait for them, and otherwise out of the way.
func streamLimits() flow.Streams {
	return flow.Streams{HalfCloseIdle: time.Minute, PingInterval: time.Minute, SocksTimeout: time.Minute}
}

// streamHandler serves a set with stream settings.
func streamHandler(t testing.TB, set *ingress.Set, limits flow.Streams, reg prometheus.Registerer) *flow.Handler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(set, opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return newHandler(flow.Config{Tags: tags(t), SpoolLimit: 1 << 20, Streams: limits}, table, log, reg)
}

// eachCarrier runs a test over the call within a process, and over frames between two.
func eachCarrier(t *testing.T, run func(t *testing.T, carry func(link.Handler) link.Carrier)) {
	t.Run("direct", func(t *testing.T) { run(t, link.NewDirect) })
	t.Run("pooled", func(t *testing.T) { run(t, func(h link.Handler) link.Carrier { return pooled(t, h) }) })
}

func pooled(t *testing.T, h link.Handler) link.Carrier {
	t.Helper()
	e, err := link.ParseEndpoint("unix:" + t.TempDir() + "/p.sock")
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	server := link.NewServer(link.ServerConfig{Handler: h, Logger: slog.New(slog.DiscardHandler), Instance: "p"})
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	b := link.NewBalancer(link.BalancerConfig{})
	b.SetProxies([]link.Proxy{{ID: tunnel.ProxyID("p"), Endpoint: e}})
	t.Cleanup(func() {
		_ = b.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return b
}

// visit is a visitor's stream, behind the head of its response.
type visit struct {
	*linktest.Visitor
	t    *testing.T
	resp stream.Response
	rest io.Reader
	done <-chan error
}

// visitFrom opens a stream and waits for the head of the response.
func visitFrom(t *testing.T, c link.Carrier, req stream.Request) *visit {
	t.Helper()
	head, err := req.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	v, e := linktest.NewVisitor()
	done := make(chan error, 1)
	go func() { done <- c.Carry(t.Context(), link.Flow{Stream: e, First: head}) }()
	out := &visit{Visitor: v, t: t, done: done}
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := v.Read(chunk)
		buf = append(buf, chunk[:n]...)
		used, perr := stream.ParseResponse(buf, &out.resp)
		if perr == nil {
			out.rest = io.MultiReader(bytes.NewReader(buf[used:]), v)
			return out
		}
		if err != nil || !errors.Is(perr, stream.ErrShort) {
			t.Fatalf("head: %v, %v", err, perr)
		}
	}
}

func (v *visit) status() string {
	if len(v.resp.Metadata) > 0 && v.resp.Metadata[0].Key == stream.KeyStatus {
		return v.resp.Metadata[0].Val
	}
	return v.resp.Error
}

func (v *visit) send(b []byte) {
	v.t.Helper()
	if _, err := v.Write(b); err != nil {
		v.t.Errorf("send: %v", err)
	}
}

// expect reads so many bytes.
func (v *visit) expect(want string) {
	v.t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(v.rest, b); err != nil || string(b) != want {
		v.t.Errorf("received %q, %v, want %q", b[:n], err, want)
	}
}

// end reads to the end, which is FIN with nil.
func (v *visit) end(want string, end error) {
	v.t.Helper()
	b, err := io.ReadAll(v.rest)
	if !errors.Is(err, end) || end == nil && string(b) != want {
		v.t.Errorf("received %d bytes %.40q, %v, want %.40q, %v", len(b), b, err, want, end)
	}
}

func (v *visit) carried() error {
	v.t.Helper()
	return testkit.Receive(v.t, "end of the flow", v.done)
}

func websocketRequest(target string, headers ...string) stream.Request {
	r := get("GET", target, append(headers, "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")...)
	r.Type = stream.WebSocket
	return r
}

// switching takes the connection over and responses only when the visitor has said all.
func switching(w http.ResponseWriter, r *http.Request) {
	c, brw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, accept101+"welcome")
	n, err := io.Copy(io.Discard, brw)
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(c, "%s got %d", r.Host, n)
}

// originsOf are servers of one handler behind every kind of HTTP service.
func originsOf(t *testing.T, h http.HandlerFunc) map[string]*ingress.Set {
	t.Helper()
	plain := httptest.NewServer(h)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(h)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	unix := func(conf *tls.Config) string {
		path := t.TempDir() + "/o.sock"
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if conf != nil {
			l = tls.NewListener(l, conf)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: testkit.Patience}
		served := make(chan struct{})
		go func() { defer close(served); _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close(); <-served })
		return path
	}
	conf := secure.TLS.Clone()
	conf.NextProtos = nil
	return map[string]*ingress.Set{
		"http":              rules(t, plain.URL),
		"ws":                rules(t, "ws"+strings.TrimPrefix(plain.URL, "http")),
		"h2c":               rules(t, "h2c"+strings.TrimPrefix(plain.URL, "http")),
		"https":             rules(t, secure.URL, "noTLSVerify: true"),
		"https with HTTP/2": rules(t, secure.URL, "noTLSVerify: true", "http2Origin: true"),
		"https by host":     rules(t, secure.URL, "noTLSVerify: true", "matchSNItoHost: true"),
		"unix":              rules(t, "unix:"+unix(nil), "httpHostHeader: app.example.com"),
		"unix+tls":          rules(t, "unix+tls:"+unix(conf), "noTLSVerify: true"),
	}
}

func TestWebSocketOrigins(t *testing.T) {
	sets := originsOf(t, switching)
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	eachCarrier(t, func(t *testing.T, carry func(link.Handler) link.Carrier) {
		for name, set := range sets {
			t.Run(name, func(t *testing.T) {
				c := carry(streamHandler(t, set, streamLimits(), nil))
				v := visitFrom(t, c, websocketRequest("/ws"))
				if v.status() != "101" {
					t.Fatalf("response %+v", v.resp)
				}
				v.expect("welcome")
				v.send(body)
				v.CloseWrite()
				v.end(fmt.Sprintf("app.example.com got %d", len(body)), nil)
				if err := v.carried(); err != nil {
					t.Errorf("Carry: %v", err)
				}
			})
		}
	})
}

func TestOriginEndsItsDirectionFirst(t *testing.T) {
	heard := make(chan string, 8)
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		_, _ = io.WriteString(c, "all I have")
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		heard <- string(b)
	})
	eachCarrier(t, func(t *testing.T, carry func(link.Handler) link.Carrier) {
		v := visitFrom(t, carry(streamHandler(t, rules(t, "http_status:404"), streamLimits(), nil)), stream.Request{Dest: addr, Type: stream.TCP})
		v.end("all I have", nil)
		v.send([]byte("and my part"))
		v.CloseWrite()
		if got := testkit.Receive(t, "the visitor's bytes", heard); got != "and my part" {
			t.Errorf("origin got %q", got)
		}
		if err := v.carried(); err != nil {
			t.Errorf("Carry: %v", err)
		}
	})
}

func TestFailuresArePassedOn(t *testing.T) {
	ends := make(chan error, 8)
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil {
				ends <- err
				return
			}
			if b[0] == 'R' {
				_ = c.(*net.TCPConn).SetLinger(0)
				return
			}
			_, _ = c.Write(b)
		}
	})
	private := stream.Request{Dest: addr, Type: stream.TCP}
	eachCarrier(t, func(t *testing.T, carry func(link.Handler) link.Carrier) {
		set := rules(t, "http_status:404")
		short := streamLimits()
		short.HalfCloseIdle = 20 * time.Millisecond
		t.Run("origin resets", func(t *testing.T) {
			v := visitFrom(t, carry(streamHandler(t, set, streamLimits(), nil)), private)
			v.send([]byte("R"))
			v.end("", linktest.ErrReset)
			if err := v.carried(); !errors.Is(err, link.ErrReset) {
				t.Errorf("Carry: %v", err)
			}
		})
		t.Run("visitor resets", func(t *testing.T) {
			v := visitFrom(t, carry(streamHandler(t, set, streamLimits(), nil)), private)
			v.send([]byte("a"))
			v.expect("a")
			v.Reset()
			if err := testkit.Receive(t, "end at the origin", ends); err == io.EOF { //nolint:errorlint // an orderly end is what must not be
				t.Error("the origin saw an orderly end")
			}
			if err := v.carried(); !errors.Is(err, link.ErrEdge) {
				t.Errorf("Carry: %v", err)
			}
		})
		t.Run("visitor leaves", func(t *testing.T) {
			v := visitFrom(t, carry(streamHandler(t, set, streamLimits(), nil)), private)
			v.Leave()
			if err := testkit.Receive(t, "end at the origin", ends); err == io.EOF { //nolint:errorlint // as above
				t.Error("the origin saw an orderly end")
			}
			if err := v.carried(); !errors.Is(err, link.ErrEdge) {
				t.Errorf("Carry: %v", err)
			}
		})
		t.Run("origin is silent after the visitor's end", func(t *testing.T) {
			silent := make(chan struct{})
			mute := rawOrigin(t, "tcp", func(net.Conn) { <-silent })
			defer close(silent)
			v := visitFrom(t, carry(streamHandler(t, set, short, nil)), stream.Request{Dest: mute, Type: stream.TCP})
			v.CloseWrite()
			v.end("", linktest.ErrReset)
			if err := v.carried(); !errors.Is(err, link.ErrReset) {
				t.Errorf("Carry: %v", err)
			}
		})
	})
}

func TestVisitorLeavesAnOriginThatDoesNotResponse(t *testing.T) {
	asked, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		if _, err := readRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
		ended <- struct{}{}
	})
	eachCarrier(t, func(t *testing.T, carry func(link.Handler) link.Carrier) {
		req := websocketRequest("/")
		head, err := req.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		v, e := linktest.NewVisitor()
		c := carry(streamHandler(t, rules(t, "http://"+addr), streamLimits(), nil))
		done := make(chan error, 1)
		go func() { done <- c.Carry(t.Context(), link.Flow{Stream: e, First: head}) }()
		testkit.Receive(t, "handshake at the origin", asked)
		v.Leave()
		testkit.Receive(t, "end at the origin", ended)
		if err := testkit.Receive(t, "end of the flow", done); !errors.Is(err, link.ErrEdge) {
			t.Errorf("Carry: %v", err)
		}
	})
}

func TestStreamFigures(t *testing.T) {
	addr := rawOrigin(t, "tcp", func(c net.Conn) { _, _ = io.Copy(c, c) })
	reg := prometheus.NewRegistry()
	h := streamHandler(t, rules(t, "http_status:404"), streamLimits(), reg)
	c := link.NewDirect(h)
	v := visitFrom(t, c, stream.Request{Dest: addr, Type: stream.TCP})
	v.send([]byte("hello"))
	v.expect("hello")
	if h.InFlight() != 1 {
		t.Errorf("in flight %d", h.InFlight())
	}
	figures := func(active, ended string) string {
		return `
# HELP culvert_proxy_streams_active Byte streams that are running.
# TYPE culvert_proxy_streams_active gauge
culvert_proxy_streams_active{kind="service"} 0
culvert_proxy_streams_active{kind="tcp"} ` + active + `
culvert_proxy_streams_active{kind="upgrade"} 0
culvert_proxy_streams_active{kind="websocket"} 0
# HELP culvert_proxy_private_flows_active Private-network flows that hold a place under the limit.
# TYPE culvert_proxy_private_flows_active gauge
culvert_proxy_private_flows_active ` + active + `
# HELP culvert_proxy_stream_connect_errors_total Private-network streams and stream services without a connection.
# TYPE culvert_proxy_stream_connect_errors_total counter
culvert_proxy_stream_connect_errors_total ` + ended + `
# HELP culvert_proxy_stream_bytes_total Payload of byte streams, by the side it went to.
# TYPE culvert_proxy_stream_bytes_total counter
culvert_proxy_stream_bytes_total{to="edge"} 5
culvert_proxy_stream_bytes_total{to="origin"} 5
`
	}
	names := []string{
		"culvert_proxy_streams_active", "culvert_proxy_private_flows_active",
		"culvert_proxy_stream_connect_errors_total", "culvert_proxy_stream_bytes_total",
	}
	testkit.Eventually(t, "figures of the running stream", func() bool {
		return testutil.GatherAndCompare(reg, strings.NewReader(figures("1", "0")), names...) == nil
	})
	v.CloseWrite()
	v.end("", nil)
	if err := v.carried(); err != nil {
		t.Error(err)
	}
	if bad := visitFrom(t, c, stream.Request{Dest: "127.0.0.1:1", Type: stream.TCP}); bad.resp.Error == "" {
		t.Error("no error")
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(figures("0", "1")), names...); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(reg, "culvert_proxy_stream_connect_seconds"); n != 1 {
		t.Errorf("%d histograms", n)
	}
}

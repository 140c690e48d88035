package flow_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
)

// deaf is an address where connections are never accepted and hang: the queue of its listener is full.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("this system's queue of connections has no end")
	return ""
}

// piece is what a trickling origin sends at a time; pieces is how many.
const (
	pieces = 30
	pace   = 20 * time.Millisecond
)

// timedOrigin responds by the path: /mute never, /quiet with a head and then nothing, /trickle with pieces and then an end.
type timedOrigin struct{ over chan struct{} }

func (o timedOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hang := func() {
		select {
		case <-o.over:
		case <-r.Context().Done():
		}
	}
	path, out := r.URL.Path, io.Writer(w)
	if path == "/mute" {
		hang()
		return
	}
	rc := http.NewResponseController(w)
	if r.Header.Get("Upgrade") == "" {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
	} else {
		c, _, err := rc.Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		out = c
		hang = func() { _, _ = io.Copy(io.Discard, c) }
	}
	if path == "/quiet" {
		hang()
		return
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range pieces {
		if _, err := out.Write(message("x")); err != nil {
			return
		}
		if out == io.Writer(w) {
			_ = rc.Flush()
		}
		<-tick.C
	}
}

// timedKind is a kind of exchange under test.
type timedKind struct {
	name, scheme string
	request      func(path string) stream.Request
	open         bool // the visitor's side stays open
}

func timedKinds() []timedKind {
	return []timedKind{
		{"HTTP", "http", func(path string) stream.Request { return get("GET", path) }, false},
		{"websocket", "http", func(path string) stream.Request {
			r := get("GET", path, "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			r.Type = stream.WebSocket
			return r
		}, true},
		{"gRPC", "h2c", rpcRequest, false},
	}
}

// ask runs an exchange and gives its response; the body is what came before its end.
func (k timedKind) ask(t *testing.T, h *flow.Handler, path string) response {
	t.Helper()
	c := start(t, h, k.request(path))
	if !k.open {
		_ = c.send.Close()
	}
	a := c.finish()
	c.cancel()
	c.wait()
	return a
}

func (k timedKind) serve(t *testing.T, addr, settings, actions string) *flow.Handler {
	t.Helper()
	const rule = "ingress:\n- {service: \"%s://%s\", originRequest: {%s}, actions: {%s}}\n"
	set := compile(t, fmt.Sprintf(rule, k.scheme, addr, settings, actions))
	if w := set.Warnings(); len(w) > 0 {
		t.Fatalf("warnings %q", w)
	}
	return serve(t, set, nil)
}

// TestTimeoutsOfARule: connect, response header, whole and idle, each over HTTP, WebSocket and gRPC.
func TestTimeoutsOfARule(t *testing.T) {
	origins := map[string]string{}
	o := timedOrigin{make(chan struct{})}
	for _, scheme := range []string{"http", "h2c"} {
		srv := httptest.NewUnstartedServer(o)
		if scheme == "h2c" {
			srv.Config.Protocols = new(http.Protocols)
			srv.Config.Protocols.SetUnencryptedHTTP2(true)
		}
		srv.Start()
		t.Cleanup(srv.Close)
		origins[scheme] = srv.Listener.Addr().String()
	}
	t.Cleanup(func() { close(o.over) })
	unreachable := deaf(t)
	whole := bytes.Count([]byte(strings.Repeat(string(message("x")), pieces)), []byte("x"))
	for _, k := range timedKinds() {
		t.Run(k.name, func(t *testing.T) {
			addr := origins[k.scheme]
			late := func(what string, a response, text string) {
				t.Helper()
				if a.status != "504" || !strings.Contains(a.err, text) || a.end != nil {
					t.Errorf("%s: %+v, want 504 with %q", what, a, text)
				}
			}
			began := func(a response) bool { return a.status == "200" || a.status == "101" }
			late("connect", k.ask(t, k.serve(t, unreachable, "connectTimeout: 100ms", ""), "/"), "timeout")
			late("response header", k.ask(t, k.serve(t, addr, "responseHeaderTimeout: 100ms", ""), "/mute"), "timeout")
			late("whole, before the head", k.ask(t, k.serve(t, addr, "", "timeout: 100ms"), "/mute"), "the rule's timeout is over")
			late("idle, before the head", k.ask(t, k.serve(t, addr, "", "idleTimeout: 100ms"), "/mute"), "idle")

			quiet := k.ask(t, k.serve(t, addr, "", "idleTimeout: 100ms"), "/quiet")
			if !began(quiet) || quiet.end == nil {
				t.Errorf("idle: %+v, want a response that is cut", quiet)
			}
			busy := k.ask(t, k.serve(t, addr, "", fmt.Sprintf("idleTimeout: %s", pieces*pace/2)), "/trickle")
			if n := strings.Count(busy.body, "x"); !began(busy) || n != whole {
				t.Errorf("not idle: %d pieces of %d, %+v", n, whole, busy)
			}
			long := k.ask(t, k.serve(t, addr, "", fmt.Sprintf("timeout: %s", pieces*pace/2)), "/trickle")
			switch n := strings.Count(long.body, "x"); {
			case !began(long):
				t.Errorf("whole: %+v", long)
			case k.open && n != whole:
				t.Errorf("whole: a websocket that had begun was cut after %d pieces", n)
			case !k.open && (n == 0 || n >= whole || long.end == nil):
				t.Errorf("whole: %d pieces of %d, end %v, want a response that is cut", n, whole, long.end)
			}
		})
	}
}

// TestIdleByteStreams: pings of our own are no sign of life of a byte stream behind a websocket.
func TestIdleByteStreams(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-closed })
	set := compile(t, fmt.Sprintf("ingress:\n- {service: \"tcp://%s\", actions: {idleTimeout: 300ms}}\n", l.Addr()))
	h := serveWith(t, set, flow.Config{Streams: flow.Streams{PingInterval: 20 * time.Millisecond}})
	r := get("GET", "/", "Sec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	r.Type = stream.WebSocket
	c := start(t, h, r)
	a := c.finish()
	if a.status != "101" || a.end == nil || len(a.body) == 0 {
		t.Errorf("%+v, want pings, and then a cut", a)
	}
	c.wait()
	testkit.Receive(t, "the end of the origin's connection", closed)
}

// TestSlowReadersAreCutByATimeout: a write that waits for the visitor does not outlast the timeouts.
func TestSlowReadersAreCutByATimeout(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	for _, action := range []string{"timeout: 200ms", "idleTimeout: 200ms"} {
		set := compile(t, fmt.Sprintf("ingress:\n- {service: %q, actions: {%s}}\n", url, action))
		c := start2(t, serve(t, set, nil), get("GET", "/"), "")
		if _, _, err := c.head(); err != nil {
			t.Fatal(err)
		}
		c.wait() // without a read
	}
}

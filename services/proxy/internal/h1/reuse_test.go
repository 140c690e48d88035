package h1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// keepServing responses every request with okResponse.
func keepServing(_ int, c net.Conn) {
	br := bufio.NewReader(c)
	for {
		if _, err := readHead(br); err != nil {
			return
		}
		if _, err := io.WriteString(c, okResponse); err != nil {
			return
		}
	}
}

func TestConnectionsAreReused(t *testing.T) {
	for name, raw := range map[string]string{
		"sized": okResponse, "chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
		"nothing": "HTTP/1.1 204 No Content\r\n\r\n", "interim": "HTTP/1.1 103 Hints\r\n\r\n" + okResponse,
	} {
		o := newOrigin(t, answering(raw, raw, raw))
		tr := transport(t, nil)
		for range 3 {
			if r := get(t, tr, o.addr); r.err != nil || r.bodyErr != nil {
				t.Fatalf("%s: %+v", name, r)
			}
		}
		if n := o.accepted(); n != 1 {
			t.Errorf("%s: %d connections, want 1", name, n)
		}
	}
}

// TestConnectionIsFreeAtTheEnd reads a body to its end and does not close it.
func TestConnectionIsFreeAtTheEnd(t *testing.T) {
	o := newOrigin(t, keepServing)
	tr := transport(t, nil)
	res, err := tr.RoundTrip(request(t, t.Context(), http.MethodGet, o.addr, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	wantOK(t, "second", get(t, tr, o.addr))
	_ = res.Body.Close() // must not touch the connection, which belongs to others now
	wantOK(t, "third", get(t, tr, o.addr))
	if n := o.accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestNotReused lists responses after which a connection must not be used again.
func TestNotReused(t *testing.T) {
	for name, raw := range map[string]string{
		"more bytes":            okResponse + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"more after no content": "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"more after last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" +
			"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"more after a long body": corpus["long body"] + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"close":                  "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"http 1.0":               "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrigin(t, func(n int, c net.Conn) {
				if n > 1 {
					keepServing(n, c)
					return
				}
				_, _ = readHead(bufio.NewReader(c))
				_, _ = io.WriteString(c, raw)
				_, _ = io.Copy(io.Discard, c)
			})
			tr := transport(t, nil)
			if r := get(t, tr, o.addr); r.err != nil || r.bodyErr != nil {
				t.Fatalf("first: %+v", r)
			}
			wantOK(t, "second", get(t, tr, o.addr))
			if n := o.accepted(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// TestUnsolicitedBytes has an origin speak up on an idle connection. Nobody asked for that response.
func TestUnsolicitedBytes(t *testing.T) {
	for _, end := range []bool{false, true} {
		spoken, speak := make(chan struct{}), make(chan struct{})
		o := newOrigin(t, func(n int, c net.Conn) {
			if n > 1 {
				keepServing(n, c)
				return
			}
			br := bufio.NewReader(c)
			_, _ = readHead(br)
			_, _ = io.WriteString(c, okResponse)
			<-speak
			_, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil")
			if end {
				_ = c.(*net.TCPConn).CloseWrite()
			}
			close(spoken)
			_, _ = io.Copy(io.Discard, br)
		})
		tr := transport(t, nil)
		wantOK(t, "first", get(t, tr, o.addr))
		close(speak)
		testkit.Receive(t, "unsolicited response", spoken)
		wantOK(t, "post after it", run(tr, request(t, t.Context(), http.MethodPost, o.addr, strings.NewReader(""))))
		wantOK(t, "get after it", get(t, tr, o.addr))
	}
}

// TestRetries follows docs/spec/ingress.md 7.4.
func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		name, method string
		idempotent   bool
		body         string
		partial      string // what the origin says before it goes
		reset        bool
		again        bool
	}{
		{name: "get", method: "GET", again: true},
		{name: "get, reset", method: "GET", reset: true, again: true},
		{name: "head", method: "HEAD", again: true},
		{name: "options", method: "OPTIONS", again: true},
		{name: "trace", method: "TRACE", again: true},
		{name: "post", method: "POST"},
		{name: "post with key", method: "POST", idempotent: true, again: true},
		{name: "post with key and body", method: "POST", idempotent: true, body: "hello"},
		{name: "get with body", method: "GET", body: "hello"},
		{name: "put", method: "PUT"},
		{name: "delete", method: "DELETE"},
		{name: "get, response begun", method: "GET", partial: "HTTP/1.1 2"},
		{name: "get, interim response", method: "GET", partial: "HTTP/1.1 103 Hints\r\n\r\n"},
		{name: "get, whole nonsense", method: "GET", partial: "HTTP/1.1 2x0 OK\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newOrigin(t, func(n int, c net.Conn) {
				br := bufio.NewReader(c)
				if n > 1 {
					keepServing(n, c)
					return
				}
				_, _ = readHead(br)
				_, _ = io.WriteString(c, okResponse)
				_, _ = readHead(br)
				_, _ = br.Discard(len(tc.body))
				_, _ = io.WriteString(c, tc.partial)
				if tc.reset {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
			})
			tr := transport(t, nil)
			wantOK(t, "first", get(t, tr, o.addr))
			r := request(t, t.Context(), tc.method, o.addr, nil)
			if tc.body != "" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tc.body)), int64(len(tc.body))
			}
			if tc.idempotent {
				r.Header["Idempotency-Key"] = nil
			}
			got := run(tr, r)
			if tc.again && tc.method != "HEAD" {
				wantOK(t, "second", got)
			} else if (got.err == nil) != tc.again {
				t.Errorf("second: %+v, want again %t", got, tc.again)
			}
			want := 1
			if tc.again {
				want = 2
			}
			if n := o.accepted(); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
			if !tc.again && tc.partial == "" && !errors.Is(got.err, io.EOF) && !errors.Is(got.err, syscall.ECONNRESET) {
				t.Errorf("error %v, want EOF", got.err)
			}
		})
	}
}

// TestFreshConnectionIsNotRetried has an origin that closes every connection.
func TestFreshConnectionIsNotRetried(t *testing.T) {
	o := newOrigin(t, func(_ int, c net.Conn) { _, _ = readHead(bufio.NewReader(c)) })
	if r := get(t, transport(t, nil), o.addr); !errors.Is(r.err, io.EOF) {
		t.Errorf("%+v, want EOF", r)
	}
	if n := o.accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestClosedIdleConnection closes idle connections before a request that could not be repeated.
func TestClosedIdleConnection(t *testing.T) {
	gone := make(chan struct{})
	o := newOrigin(t, func(n int, c net.Conn) {
		if n > 1 {
			keepServing(n, c)
			return
		}
		br := bufio.NewReader(c)
		_, _ = readHead(br)
		_, _ = io.WriteString(c, okResponse)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = br.ReadByte() // ends when the client has noticed: nobody asks it to
		close(gone)
	})
	tr := transport(t, nil)
	wantOK(t, "first", get(t, tr, o.addr))
	testkit.Receive(t, "client closed its side", gone)
	wantOK(t, "post", run(tr, request(t, t.Context(), http.MethodPost, o.addr, strings.NewReader(""))))
	if n := o.accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// counting counts the connections that a transport has open.
type counting struct {
	mu   sync.Mutex
	open int
}

type countedConn struct {
	*net.TCPConn
	once sync.Once
	c    *counting
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.c.add(-1) })
	return c.TCPConn.Close()
}

func (c *counting) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
}

func (c *counting) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

func (c *counting) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.add(1)
	return &countedConn{TCPConn: nc.(*net.TCPConn), c: c}, nil
}

// openAnswers runs n exchanges at a time and ends them together.
func openAnswers(t *testing.T, tr http.RoundTripper, addrs ...string) {
	t.Helper()
	var all []*http.Response
	for _, addr := range addrs {
		res, err := tr.RoundTrip(request(t, t.Context(), http.MethodGet, addr, nil))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, res)
	}
	for _, res := range all {
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
}

// TestKeepAliveLimits follows keepAliveConnections of docs/spec/ingress.md 2.4.
func TestKeepAliveLimits(t *testing.T) {
	a, b := newOrigin(t, keepServing), newOrigin(t, keepServing)
	for _, tc := range []struct{ total, perHost, want int }{
		{100, 100, 6}, {4, 4, 4}, {3, 100, 3}, {100, 2, 4}, {0, 0, 4}, {0, -1, 0},
	} {
		open := new(counting)
		tr := transport(t, func(c *h1.Config) { c.MaxIdle, c.MaxIdlePerHost, c.DialContext = tc.total, tc.perHost, open.dial })
		openAnswers(t, tr, a.addr, a.addr, a.addr, b.addr, b.addr, b.addr)
		if n := open.now(); n != tc.want {
			t.Errorf("%+v: %d open connections", tc, n)
		}
		tr.CloseIdleConnections()
		if n := open.now(); n != 0 {
			t.Errorf("%+v: %d open connections after CloseIdleConnections", tc, n)
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	o := newOrigin(t, keepServing)
	open := new(counting)
	tr := transport(t, func(c *h1.Config) { c.IdleTimeout, c.DialContext = 5*time.Millisecond, open.dial })
	openAnswers(t, tr, o.addr, o.addr, o.addr)
	testkit.Eventually(t, "idle connections closed", func() bool { return open.now() == 0 })
	wantOK(t, "afterwards", get(t, tr, o.addr))
	testkit.Eventually(t, "idle connections closed again", func() bool { return open.now() == 0 })
}

// TestCloseIdleReachesRunning closes while an exchange runs: its connection must not become idle.
func TestCloseIdleReachesRunning(t *testing.T) {
	o := newOrigin(t, keepServing)
	open := new(counting)
	tr := transport(t, func(c *h1.Config) { c.DialContext = open.dial })
	res, err := tr.RoundTrip(request(t, t.Context(), http.MethodGet, o.addr, nil))
	if err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "ok" {
		t.Errorf("body %q, %v", b, err)
	}
	if n := open.now(); n != 0 {
		t.Errorf("%d open connections", n)
	}
	wantOK(t, "afterwards", get(t, tr, o.addr))
	wantOK(t, "and once more", get(t, tr, o.addr))
	if n := o.accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// TestMany runs exchanges of all kinds at a time; each must get its own response.
func TestMany(t *testing.T) {
	o := newOrigin(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for i := 0; ; i++ {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			text := r.URL.RawQuery + string(b)
			switch len(text) % 3 {
			case 0:
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			case 1:
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
			default:
				_, _ = fmt.Fprintf(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
				if i%5 == 4 {
					return // goes without a word
				}
			}
		}
	})
	tr := transport(t, nil)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				query := fmt.Sprintf("w%d-%d", w, i)
				body := strings.Repeat("b", (w*31+i*17)%5000)
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+o.addr+"/?"+query, strings.NewReader(body))
				if i%3 == 0 {
					r.ContentLength = -1
				}
				if i%2 == 0 {
					body = ""
					r, _ = http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+o.addr+"/?"+query, nil)
				}
				got := run(tr, r)
				if got.err != nil && r.Method == http.MethodPost && errors.Is(got.err, io.EOF) || errors.Is(got.err, syscall.ECONNRESET) {
					continue // the origin closed the connection at that moment
				}
				if got.err != nil || got.bodyErr != nil || got.body != query+body {
					t.Errorf("%s %s: %d bytes, %v, %v", r.Method, query, len(got.body), got.err, got.bodyErr)
				}
			}
		})
	}
	wg.Wait()
}

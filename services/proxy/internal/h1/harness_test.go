package h1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

func TestMain(m *testing.M) {
	if serveBenchmark() {
		return
	}
	goleak.VerifyTestMain(m)
}

// origin is a raw server: serve runs for each connection, numbered from 1.
type origin struct {
	addr string

	mu    sync.Mutex // guards the rest
	conns []net.Conn
}

func newOrigin(t testing.TB, serve func(n int, c net.Conn)) *origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.mu.Lock()
			o.conns = append(o.conns, c)
			n := len(o.conns)
			o.mu.Unlock()
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				serve(n, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		o.mu.Lock()
		for _, c := range o.conns {
			_ = c.Close()
		}
		o.mu.Unlock()
		wg.Wait()
	})
	return o
}

// accepted is the number of connections so far.
func (o *origin) accepted() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// answering serves each request without a body with the next of the raw responses, then closes.
func answering(responses ...string) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for _, a := range responses {
			if _, err := readHead(br); err != nil {
				return
			}
			if _, err := io.WriteString(c, a); err != nil {
				return
			}
		}
	}
}

// readHead reads up to and with the blank line.
func readHead(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// noFallback fails requests that are not served by the package itself.
type noFallback struct{}

var errFallback = errors.New("went to the fallback")

func (noFallback) RoundTrip(*http.Request) (*http.Response, error) { return nil, errFallback }

func transport(t testing.TB, change func(*h1.Config)) *h1.Transport {
	t.Helper()
	cfg := h1.Config{DialContext: new(net.Dialer).DialContext, MaxIdle: 100, MaxIdlePerHost: 100, Fallback: noFallback{}}
	if change != nil {
		change(&cfg)
	}
	tr := h1.New(cfg)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func request(t testing.TB, ctx context.Context, method, addr string, body io.Reader) *http.Request { //nolint:revive // t first in tests
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// observed is what became of an exchange.
type observed struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	length  int64
	coding  []string
	close   bool
	err     error // of the round trip
	bodyErr error
}

func run(rt http.RoundTripper, r *http.Request) observed {
	res, err := rt.RoundTrip(r)
	if err != nil {
		return observed{err: err}
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return observed{
		status: res.StatusCode, header: res.Header, trailer: res.Trailer, body: string(b), length: res.ContentLength,
		coding: res.TransferEncoding, close: res.Close, bodyErr: err,
	}
}

func get(t testing.TB, rt http.RoundTripper, addr string) observed {
	t.Helper()
	return run(rt, request(t, t.Context(), http.MethodGet, addr, nil))
}

// wantOK fails unless the response is okResponse.
func wantOK(t testing.TB, what string, r observed) {
	t.Helper()
	if r.err != nil || r.bodyErr != nil || r.status != http.StatusOK || r.body != "ok" {
		t.Fatalf("%s: %+v, want ok", what, r)
	}
}

package h1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

var errLeft = errors.New("visitor left")

// silent reads a head, says something, tells so, and waits for the client's end.
func silent(say string, heard chan<- struct{}) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		_, _ = readHead(br)
		_, _ = io.WriteString(c, say)
		heard <- struct{}{}
		_, _ = io.Copy(io.Discard, br)
		heard <- struct{}{}
	}
}

func TestCancelDuringHead(t *testing.T) {
	for _, say := range []string{"", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nA: "} {
		heard := make(chan struct{}, 2)
		o := newOrigin(t, silent(say, heard))
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			<-heard
			cancel(errLeft)
		}()
		if r := run(transport(t, nil), request(t, ctx, http.MethodGet, o.addr, nil)); !errors.Is(r.err, errLeft) {
			t.Errorf("after %q: %+v, want the context's cause", say, r)
		}
		testkit.Receive(t, "connection closed", heard)
		cancel(nil)
	}
}

func TestCancelDuringBody(t *testing.T) {
	for _, say := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
		"HTTP/1.1 200 OK\r\n\r\nsome",
	} {
		heard := make(chan struct{}, 2)
		o := newOrigin(t, silent(say, heard))
		ctx, cancel := context.WithCancelCause(t.Context())
		res, err := transport(t, nil).RoundTrip(request(t, ctx, http.MethodGet, o.addr, nil))
		if err != nil {
			t.Fatal(err)
		}
		testkit.Receive(t, "response sent", heard)
		go cancel(errLeft)
		b, err := io.ReadAll(res.Body)
		if string(b) != "some" || !errors.Is(err, errLeft) {
			t.Errorf("%q, %v, want the context's cause after some", b, err)
		}
		testkit.Receive(t, "connection closed", heard)
		_ = res.Body.Close()
	}
}

func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	r := request(t, ctx, http.MethodPost, "127.0.0.1:1", nil)
	closed := new(closing)
	r.Body, r.ContentLength = closed, 5
	if r := run(transport(t, nil), r); !errors.Is(r.err, errLeft) {
		t.Errorf("%+v, want the context's cause", r)
	}
	if !closed.done.Load() {
		t.Error("request body is not closed")
	}
}

// closing is a body that remembers being closed.
type closing struct {
	io.Reader
	done atomic.Bool
}

func (c *closing) Close() error {
	c.done.Store(true)
	return nil
}

func TestCancelDuringDial(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	tr := transport(t, func(c *h1.Config) {
		c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel(errLeft)
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
		}
	})
	if r := run(tr, request(t, ctx, http.MethodGet, "o.test", nil)); !errors.Is(r.err, errLeft) {
		t.Errorf("%+v, want the context's cause", r)
	}
}

func TestDialFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	body := &closing{Reader: strings.NewReader("hello")}
	r := request(t, t.Context(), http.MethodPost, addr, nil)
	r.Body, r.ContentLength = body, 5
	got := run(transport(t, nil), r)
	var op *net.OpError
	if !errors.As(got.err, &op) || op.Op != "dial" {
		t.Errorf("%+v, want a dial error", got)
	}
	if !body.done.Load() {
		t.Error("request body is not closed")
	}
}

func TestHeadTimeout(t *testing.T) {
	limited := func(c *h1.Config) { c.ResponseHeaderTimeout = 20 * time.Millisecond }
	for _, body := range []string{"", "hello"} {
		heard := make(chan struct{}, 2)
		o := newOrigin(t, silent("HTTP/1.1 100 Continue\r\n\r\n", heard))
		r := request(t, t.Context(), http.MethodPost, o.addr, strings.NewReader(body))
		got := run(transport(t, limited), r)
		var timeout net.Error
		if !errors.As(got.err, &timeout) || !timeout.Timeout() {
			t.Errorf("with body %q: %+v, want a timeout", body, got)
		}
	}
}

// limitedConn remembers the last read deadline.
type limitedConn struct {
	*net.TCPConn
	last atomic.Pointer[time.Time]
}

func (c *limitedConn) SetReadDeadline(d time.Time) error {
	c.last.Store(&d)
	return c.TCPConn.SetReadDeadline(d)
}

// TestHeadTimeoutEndsWithHead holds that a body may take as long as it likes.
func TestHeadTimeoutEndsWithHead(t *testing.T) {
	for _, text := range []string{"", "hello"} {
		var conn *limitedConn
		o := newOrigin(t, echo)
		tr := transport(t, func(c *h1.Config) {
			c.ResponseHeaderTimeout = time.Hour
			c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				conn = &limitedConn{TCPConn: nc.(*net.TCPConn)}
				return conn, nil
			}
		})
		got := run(tr, request(t, t.Context(), http.MethodPost, o.addr, strings.NewReader(text)))
		if got.err != nil || got.body != text {
			t.Fatalf("%+v", got)
		}
		if d := conn.last.Load(); d == nil || !d.IsZero() {
			t.Errorf("read deadline %v after the head, want none", d)
		}
	}
}

// TestCloseBreaksRead closes a body while another goroutine waits in Read.
func TestCloseBreaksRead(t *testing.T) {
	heard := make(chan struct{}, 2)
	o := newOrigin(t, silent("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", heard))
	res, err := transport(t, nil).RoundTrip(request(t, t.Context(), http.MethodGet, o.addr, nil))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Receive(t, "response sent", heard)
	ended := make(chan error, 1)
	go func() {
		_, err := res.Body.Read(make([]byte, 10))
		ended <- err
	}()
	_ = res.Body.Close()
	if err := testkit.Receive(t, "read ended", ended); err == nil {
		t.Error("read after Close gave no error")
	}
	testkit.Receive(t, "connection closed", heard)
	if _, err := res.Body.Read(make([]byte, 10)); err == nil || err == io.EOF {
		t.Errorf("Read after Close: %v", err)
	}
}

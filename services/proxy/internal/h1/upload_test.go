package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// echo sends each request's body back when it has come in full.
func echo(_ int, c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		res := http.Response{
			StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(b)), Body: io.NopCloser(bytes.NewReader(b)),
		}
		if err := res.Write(c); err != nil {
			return
		}
	}
}

func TestBodies(t *testing.T) {
	o := newOrigin(t, echo)
	tr := transport(t, nil)
	for _, size := range []int{0, 1, 100, 32 << 10, 1 << 20} {
		for _, length := range []int64{int64(size), -1} {
			text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			r := request(t, t.Context(), http.MethodPost, o.addr, nil)
			body := &closing{Reader: strings.NewReader(text)}
			r.Body, r.ContentLength = body, length
			if length == 0 {
				r.Body = http.NoBody
			}
			got := run(tr, r)
			if got.err != nil || got.bodyErr != nil || got.body != text {
				t.Fatalf("%d bytes as %d: %d bytes, %v, %v", size, length, len(got.body), got.err, got.bodyErr)
			}
			if length != 0 && !body.done.Load() {
				t.Error("request body is not closed")
			}
		}
	}
}

// TestWrongLength has bodies that are not what was declared. The origin must not take the request for complete, or the
// rest for a request.
func TestWrongLength(t *testing.T) {
	for name, text := range map[string]string{"short": "hell", "long": "hello, world"} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			o := newOrigin(t, func(_ int, c net.Conn) {
				br := bufio.NewReader(c)
				if _, err := readHead(br); err != nil {
					return
				}
				b, _ := io.ReadAll(br)
				got <- string(b)
			})
			r := request(t, t.Context(), http.MethodPost, o.addr, nil)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), 5
			if got := run(transport(t, nil), r); got.err == nil || !strings.Contains(got.err.Error(), "5 declared") {
				t.Errorf("%+v, want an error about the length", got)
			}
			if sent := testkit.Receive(t, "connection closed", got); sent != text[:min(5, len(text))] {
				t.Errorf("origin got %q", sent)
			}
		})
	}
}

func TestBodyFails(t *testing.T) {
	errBroken := errors.New("broken")
	for _, length := range []int64{100, -1} {
		o := newOrigin(t, echo)
		r := request(t, t.Context(), http.MethodPost, o.addr, nil)
		body := &closing{Reader: io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) { return 0, errBroken }))}
		r.Body, r.ContentLength = body, length
		if got := run(transport(t, nil), r); !errors.Is(got.err, errBroken) {
			t.Errorf("%+v, want the body's error", got)
		}
		testkit.Eventually(t, "request body closed", body.done.Load)
	}
}

// TestEarlyResponse has an origin that responses without waiting for the body.
func TestEarlyResponse(t *testing.T) {
	for _, response := range []string{
		"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno",
		"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
	} {
		ended := make(chan struct{})
		o := newOrigin(t, func(n int, c net.Conn) {
			if n > 1 {
				keepServing(n, c)
				return
			}
			br := bufio.NewReader(c)
			_, _ = readHead(br)
			_, _ = io.WriteString(c, response)
			_, _ = io.Copy(io.Discard, br)
			close(ended)
		})
		tr := transport(t, nil)
		pr, pw := io.Pipe()
		r := request(t, t.Context(), http.MethodPost, o.addr, nil)
		r.Body, r.ContentLength = pr, 100
		if got := run(tr, r); got.err != nil || got.bodyErr != nil || got.status != http.StatusRequestEntityTooLarge {
			t.Fatalf("%+v", got)
		}
		testkit.Receive(t, "connection closed", ended)
		if _, err := pw.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write to the request's body: %v, want it closed", err)
		}
		wantOK(t, "next", get(t, tr, o.addr))
		if n := o.accepted(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	}
}

// TestResponseBeforeBodyEnds goes both ways at a time and keeps the connection.
func TestResponseBeforeBodyEnds(t *testing.T) {
	o := newOrigin(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
			b := make([]byte, 5)
			for i := range b {
				if _, err := io.ReadFull(r.Body, b[i:i+1]); err != nil {
					return
				}
				_, _ = c.Write(b[i : i+1])
			}
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	tr := transport(t, nil)
	for range 3 {
		pr, pw := io.Pipe()
		r := request(t, t.Context(), http.MethodPost, o.addr, nil)
		r.Body = pr
		r.ContentLength = 5
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []byte("hello") {
			if _, err := pw.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
			if c == 'o' {
				_ = pw.Close()
			}
			var got [1]byte
			if _, err := io.ReadFull(res.Body, got[:]); err != nil || got[0] != c {
				t.Fatalf("%q, %v, want %q", got, err, c)
			}
		}
		_ = res.Body.Close()
	}
}

// TestRefusedWhileSending has an origin that responses and closes while the body is on its way.
func TestRefusedWhileSending(t *testing.T) {
	o := newOrigin(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		_, _ = readHead(br)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, br, 1<<20)
	})
	r := request(t, t.Context(), http.MethodPost, o.addr, nil)
	body := &closing{Reader: strings.NewReader(strings.Repeat("x", 8<<20))}
	r.Body, r.ContentLength = body, 8<<20
	if got := run(transport(t, nil), r); got.err != nil || got.bodyErr != nil || got.body != "no" {
		t.Errorf("%+v, want the origin's response", got)
	}
	testkit.Eventually(t, "request body closed", body.done.Load)
}

func TestCancelDuringUpload(t *testing.T) {
	heard := make(chan struct{}, 2)
	o := newOrigin(t, silent("", heard))
	ctx, cancel := context.WithCancelCause(t.Context())
	pr, pw := io.Pipe()
	r := request(t, ctx, http.MethodPost, o.addr, nil)
	r.Body, r.ContentLength = pr, -1
	go func() {
		<-heard
		_, _ = pw.Write([]byte("some"))
		cancel(errLeft)
	}()
	if got := run(transport(t, nil), r); !errors.Is(got.err, errLeft) {
		t.Errorf("%+v, want the context's cause", got)
	}
	testkit.Receive(t, "connection closed", heard)
	if _, err := pw.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to the request's body: %v, want it closed", err)
	}
}

// TestCloseDuringUpload closes an unread response while the body is still coming.
func TestCloseDuringUpload(t *testing.T) {
	heard := make(chan struct{}, 2)
	o := newOrigin(t, silent("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", heard))
	pr, pw := io.Pipe()
	r := request(t, t.Context(), http.MethodPost, o.addr, nil)
	r.Body, r.ContentLength = pr, -1
	res, err := transport(t, nil).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if _, err := pw.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to the request's body: %v, want it closed", err)
	}
	testkit.Receive(t, "response sent", heard)
	testkit.Receive(t, "connection closed", heard)
}

// failingConn fails one write after some of its bytes.
type failingConn struct {
	*net.TCPConn
	fail atomic.Bool
	some int
}

func (c *failingConn) Write(p []byte) (int, error) {
	if !c.fail.Swap(false) {
		return c.TCPConn.Write(p)
	}
	_, _ = c.TCPConn.Write(p[:c.some])
	return c.some, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
}

// TestHeadCannotBeSent has a reused connection fail: a request of which nothing was sent may always be repeated.
func TestHeadCannotBeSent(t *testing.T) {
	for _, tc := range []struct {
		method, body string
		some         int
		again        bool
	}{
		{http.MethodPost, "hello", 0, true},
		{http.MethodPost, "", 0, true},
		{http.MethodPost, "hello", 10, false},
		{http.MethodPost, "", 10, false},
		{http.MethodGet, "", 10, true},
	} {
		o := newOrigin(t, echo)
		var conn *failingConn
		tr := transport(t, func(c *h1.Config) {
			c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				conn = &failingConn{TCPConn: nc.(*net.TCPConn), some: tc.some}
				return conn, nil
			}
		})
		if r := get(t, tr, o.addr); r.err != nil {
			t.Fatal(r.err)
		}
		conn.fail.Store(true)
		r := request(t, t.Context(), tc.method, o.addr, nil)
		body := &closing{Reader: strings.NewReader(tc.body)}
		if tc.body != "" {
			r.Body, r.ContentLength = body, int64(len(tc.body))
		}
		got := run(tr, r)
		switch {
		case tc.again && (got.err != nil || got.body != tc.body):
			t.Errorf("%+v: %+v, want the response of a second try", tc, got)
		case !tc.again && !errors.Is(got.err, syscall.EPIPE):
			t.Errorf("%+v: %+v, want the write's error", tc, got)
		}
		if tc.body != "" && !body.done.Load() {
			t.Errorf("%+v: request body is not closed", tc)
		}
	}
}

// TestBadTrailerValue appears only while the body is sent.
func TestBadTrailerValue(t *testing.T) {
	o := newOrigin(t, echo)
	r := request(t, t.Context(), http.MethodPost, o.addr, nil)
	r.Trailer = http.Header{"X-Sum": {"a\r\nEvil: 1"}}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
	if got := run(transport(t, nil), r); got.err == nil || !strings.Contains(got.err.Error(), "X-Sum") {
		t.Errorf("%+v, want an error about the trailer", got)
	}
}

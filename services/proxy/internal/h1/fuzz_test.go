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
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// fakeConn responds with given bytes, in pieces, and keeps what is written.
type fakeConn struct {
	response string
	piece    int // 0: all at once
	// patience is how many bytes of a body the response waits for.
	patience int64

	mu     sync.Mutex // guards the rest
	heard  sync.Cond
	out    bytes.Buffer
	closed bool
}

func (c *fakeConn) dial(context.Context, string, string) (net.Conn, error) {
	c.heard.L = &c.mu
	return c, nil
}

// mayRespond says that the whole request has come, or that no more will.
func (c *fakeConn) mayRespond() bool {
	_, body, ok := bytes.Cut(c.out.Bytes(), []byte("\r\n\r\n"))
	return c.patience == 0 || c.closed || ok && int64(len(body)) >= c.patience
}

func (c *fakeConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.mayRespond() {
		c.heard.Wait()
	}
	if c.response == "" {
		return 0, io.EOF
	}
	if c.piece > 0 {
		p = p[:min(len(p), c.piece)]
	}
	n := copy(p, c.response)
	c.response = c.response[n:]
	return n, nil
}

func (c *fakeConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.heard.Broadcast()
	return c.out.Write(p)
}

func (c *fakeConn) written() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func (c *fakeConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.heard.Broadcast()
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr              { return nil }
func (c *fakeConn) RemoteAddr() net.Addr             { return nil }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzResponse holds that what is accepted here, net/http accepts and reads alike, however it arrives.
func FuzzResponse(f *testing.F) {
	for _, raw := range corpus {
		if len(raw) < 8<<10 {
			f.Add(raw, uint8(0), false)
			f.Add(raw, uint8(1), true)
		}
	}
	f.Fuzz(func(t *testing.T, raw string, piece uint8, isHead bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		c := &fakeConn{response: raw, piece: int(piece)}
		tr := h1.New(h1.Config{DialContext: c.dial, Fallback: noFallback{}})
		got := run(tr, request(t, t.Context(), method, "o.test", nil))
		if got.err != nil {
			return
		}
		want := reference(raw, request(t, t.Context(), method, "o.test", nil))
		if got.status == http.StatusSwitchingProtocols {
			want.body = ""
		}
		if want.err != nil {
			t.Fatalf("accepted, but net/http: %v", want.err)
		}
		if got.bodyErr == nil && want.bodyErr != nil {
			t.Fatalf("body accepted, but net/http: %v", want.bodyErr)
		}
		if got.status != want.status || got.length != want.length {
			t.Errorf("status %d, length %d; net/http: %d, %d", got.status, got.length, want.status, want.length)
		}
		if diff := cmp.Diff(want.header, got.header); diff != "" {
			t.Errorf("header differs (-net/http +h1):\n%s", diff)
		}
		if !strings.HasPrefix(want.body, got.body) || got.bodyErr == nil && got.body != want.body {
			t.Errorf("body %q; net/http: %q", got.body, want.body)
		}
		if got.bodyErr == nil {
			if diff := cmp.Diff(want.trailer, got.trailer); diff != "" {
				t.Errorf("trailer differs (-net/http +h1):\n%s", diff)
			}
		}
	})
}

// reference reads a response with the standard library, past interim ones.
func reference(raw string, r *http.Request) observed {
	br := bufio.NewReaderSize(strings.NewReader(raw), 64<<10)
	for {
		res, err := http.ReadResponse(br, r)
		if err != nil {
			return observed{err: err}
		}
		if res.StatusCode < 200 && res.StatusCode >= 100 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return observed{
			status: res.StatusCode, header: res.Header, trailer: res.Trailer, body: string(b), length: res.ContentLength, bodyErr: err,
		}
	}
}

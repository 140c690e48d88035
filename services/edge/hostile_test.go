package edge_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

// secure is a connection over TLS with HTTP/1.1.
func (b *bench) secure() net.Conn {
	b.t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://"),
		&tls.Config{RootCAs: b.roots(), ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	return c
}

// Ambiguous requests get 400 and the end of the connection, on both listeners, after the response to a valid request before them.
// They do not reach the connector.
func TestSmugglingIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var requests atomic.Int64
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		requests.Add(1)
		origin(p, req, body, st)
	}, streams1)
	const good = "GET /bytes?n=2 HTTP/1.1\r\nHost: a\r\n\r\n"
	const hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
	post := func(lines string) string { return "POST /sink HTTP/1.1\r\nHost: a\r\n" + lines + "\r\n\r\n" }
	for name, bad := range map[string]string{
		"length and coding":  post("Content-Length: 6\r\nTransfer-Encoding: chunked") + "0\r\n\r\n" + hidden,
		"coding and length":  post("Transfer-Encoding: chunked\r\nContent-Length: 6") + "0\r\n\r\n" + hidden,
		"two lengths":        post("Content-Length: 0\r\nContent-Length: 44") + hidden,
		"folded line":        post("X: a\r\n Content-Length: 44") + hidden,
		"bare lf":            "GET /sink HTTP/1.1\nHost: a\n\n" + hidden,
		"bare lf in a head":  "POST /sink HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 44\r\n\r\n" + hidden,
		"nul":                post("X: a\x00b"),
		"space before colon": post("Content-Length : 44") + hidden,
		"unknown coding":     post("Transfer-Encoding: xchunked") + hidden,
		"two hosts":          "GET /sink HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"another host":       "GET http://b/sink HTTP/1.1\r\nHost: a\r\n\r\n",
		"coding in http/1.0": "POST /sink HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"no version":         "GET /sink\r\n",
	} {
		for way, dial := range map[string]func() net.Conn{"plain": func() net.Conn { return b.tcp() }, "tls": b.secure} {
			for _, before := range []string{"", good} {
				requests.Store(0)
				c := dial()
				if _, err := io.WriteString(c, before+bad); err != nil {
					t.Fatal(err)
				}
				r := bufio.NewReader(c)
				if before != "" {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						t.Fatalf("%s, %s: response to the valid request: %v", name, way, err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
						t.Errorf("%s, %s: the valid request: %d, %v", name, way, resp.StatusCode, err)
					}
				}
				all, err := io.ReadAll(r)
				if err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.1 400 ")) || bytes.Count(all, []byte("HTTP/1.1")) != 1 {
					t.Errorf("%s, %s after %q: %q, %v", name, way, before, all, err)
				}
				if want := int64(len(before) / len(good)); requests.Load() != want {
					t.Errorf("%s, %s: the connector got %d requests, want %d", name, way, requests.Load(), want)
				}
				_ = c.Close()
			}
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		if n, err := io.Copy(io.Discard, body); err == nil { // a reset, or the end of the test
			t.Errorf("a malformed body looked complete after %d bytes", n)
		}
		end(st)
	}, streams1)
	for name, bad := range map[string]string{
		"size": "xyz\r\n", "size with a space": "3 \r\nabc\r\n", "bare lf": "3\nabc\r\n", "no crlf": "3\r\nabcd\r\n",
		"huge":             "ffffffffffffffff\r\n",
		"after a good one": "3\r\nabc\r\n-1\r\n", "folded trailer": "0\r\nA: b\r\n c\r\n\r\n", "extension": "3;a\x00\r\nabc\r\n",
	} {
		c := b.tcp()
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+bad+"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")
		all, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(all, []byte("HTTP/1.1 400 ")) || !bytes.Contains(all, []byte("Culvert-Error: malformed\r\n")) ||
			bytes.Count(all, []byte("HTTP/1.1")) != 1 {
			t.Errorf("%s: %q, %v", name, all, err)
		}
		_ = c.Close()
	}
}

func TestHeadLimits(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxHeaderBytes = 128 << 10 })
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		for size, want := range map[int]int{64 << 10: 200, 200 << 10: 431} {
			req, _ := http.NewRequest(http.MethodGet, c.base+"/bytes?n=5", nil)
			for i := range size / 4096 {
				req.Header.Set(fmt.Sprint("X-Large-", i), strings.Repeat("x", 4096))
			}
			resp, err := c.client.Do(req)
			if want == 431 && name != "http1" {
				if err == nil {
					t.Errorf("%s: the limit is not announced", name)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s with %d bytes: %v", name, size, err)
				continue
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != want || (want == 431 && !strings.Contains(string(body), "431")) {
				t.Errorf("%s with %d bytes: %d %.80q, want %d", name, size, resp.StatusCode, body, want)
			}
		}
	}
	f := b.framer() // a client that ignores the announced settings
	kv := []string{":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a"}
	for i := range 50 {
		kv = append(kv, fmt.Sprint("x-large-", i), strings.Repeat("x", 4096))
	}
	block := f.block(kv...)
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true})
	for block = block[16000:]; len(block) > 0; {
		n := min(16000, len(block))
		_ = f.WriteContinuation(1, n == len(block), block[:n])
		block = block[n:]
	}
	if got := f.result(1); got != "431" && !strings.HasPrefix(got, "goaway") { // the library responds only to slightly larger heads
		t.Errorf("h2c by hand: %s, want a refusal", got)
	}
}

func TestHTTPOnThePortOfHTTPS(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(all), "HTTPS") {
		t.Errorf("%q, %v", all, err)
	}
}

func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxConnections = 2 })
	b.connect(0, 0, origin)
	first, second := b.tcp(), b.secure()
	ask := func(c net.Conn) error {
		if _, err := io.WriteString(c, "GET /bytes?n=1 HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		return err
	}
	if err := errors.Join(ask(first), ask(second)); err != nil {
		t.Fatal(err)
	}
	another := func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.PublicURL(), "http://"))
		if err != nil {
			return err // the reset of a connection too many may come before the dialler looks
		}
		defer func() { _ = c.Close() }()
		return ask(c)
	}
	if another() == nil {
		t.Error("a third connection is served")
	}
	_ = first.Close()
	testkit.Eventually(t, "there is room again", func() bool { return another() == nil })
	if err := ask(second); err != nil {
		t.Errorf("the connection that stayed: %v", err)
	}
	_ = second.Close()
}

// net/http refuses requests that are malformed in HTTP/2. This test checks that it still does.
func TestMalformedOverHTTP2(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, body io.Reader, st transport.Stream) {
		_, err := io.Copy(io.Discard, body)
		respond(st, "200", "X-Err", fmt.Sprint(err))
		end(st)
	}, streams1)
	base := []string{":method", "POST", ":path", "/", ":scheme", "http", ":authority", "a"}
	for name, extra := range map[string][]string{
		"connection":        {"connection", "keep-alive"},
		"keep-alive":        {"keep-alive", "1"},
		"proxy-connection":  {"proxy-connection", "x"},
		"transfer-encoding": {"transfer-encoding", "chunked"},
		"upgrade":           {"upgrade", "websocket"},
		"te":                {"te", "gzip"},
		"upper case":        {"X-Upper", "1"},
		"bad name":          {"x y", "1"},
		"nul":               {"x", "a\x00b"},
		"lf":                {"x", "a\nb"},
		"late pseudo":       {"x", "1", ":path", "/b"},
		"length too long":   {"content-length", "7"},
		"length too short":  {"content-length", "1"},
		"bad length":        {"content-length", "+3"},
		"two lengths":       {"content-length", "3", "content-length", "3"},
		"protocol of get":   {":protocol", "websocket"},
	} {
		f := b.framer()
		f.request(1, http2.HeadersFrameParam{}, append(append([]string{}, base...), extra...)...)
		if err := f.WriteData(1, true, []byte("abc")); err != nil {
			t.Fatal(err)
		}
		if got := f.result(1); got == "200" {
			t.Errorf("%s: result %s", name, got)
		}
	}
	for name, kv := range map[string][]string{
		"connect without a path": {":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a"},
		"connect to nothing":     {":method", "CONNECT", ":protocol", "websocket"},
		"another protocol":       {":method", "CONNECT", ":protocol", "connect-udp", ":path", "/", ":scheme", "http", ":authority", "a"},
		"plain connect":          {":method", "CONNECT", ":authority", "a:1"},
	} {
		f := b.framer()
		f.request(1, http2.HeadersFrameParam{}, kv...)
		if got := f.result(1); got == "200" {
			t.Errorf("%s: result %s", name, got)
		}
	}
	for length, want := range map[string]string{"0": "200", "3": "400"} { // and no body
		f := b.framer()
		f.request(1, http2.HeadersFrameParam{EndStream: true}, append(append([]string{}, base...), "content-length", length)...)
		if got := f.result(1); got != want {
			t.Errorf("length %s without a body: %s, want %s", length, got, want)
		}
	}
	f := b.framer()
	f.request(1, http2.HeadersFrameParam{}, append(append([]string{}, base...), "content-length", "3")...)
	_ = f.WriteData(1, true, []byte("abc"))
	if got := f.result(1); got != "200" {
		t.Errorf("the valid request: %s", got)
	}
}

// result reads until the response or the reset of stream id arrives, or the connection ends.
func (f *framer) result(id uint32) string {
	f.t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return "connection: " + err.Error()
		}
		switch fr := fr.(type) {
		case *http2.GoAwayFrame:
			return "goaway: " + fr.ErrCode.String()
		case *http2.RSTStreamFrame:
			if fr.StreamID == id {
				return "reset: " + fr.ErrCode.String()
			}
		case *http2.HeadersFrame:
			if fr.StreamID == id {
				return f.status(fr.HeaderBlockFragment())
			}
		}
	}
}

// status reads the status of a response's head.
func (f *framer) status(block []byte) string {
	var status string
	dec := hpack.NewDecoder(4096, func(h hpack.HeaderField) {
		if h.Name == ":status" {
			status = h.Value
		}
	})
	if _, err := dec.Write(block); err != nil {
		f.t.Fatal(err)
	}
	return status
}

// goroutines counts the goroutines, without those of idle client connections.
func (b *bench) goroutines() int {
	b.client.CloseIdleConnections()
	runtime.GC()
	return runtime.NumGoroutine()
}

func TestRapidResets(t *testing.T) {
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		<-st.Context().Done()
		end(st)
	}, streams1)
	before := b.goroutines()
	for range 3 {
		f := b.framer()
		done := make(chan struct{})
		go func() { // the server's frames must be read
			defer close(done)
			for {
				if _, err := f.ReadFrame(); err != nil {
					return
				}
			}
		}()
		for i := range uint32(1_500) {
			id := 2*i + 1
			if err := f.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: f.block(":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a"),
				EndHeaders: true, EndStream: true,
			}); err != nil {
				break // the server had enough
			}
			if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
				break
			}
		}
		_ = f.conn.Close()
		<-done
	}
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
	testkit.Eventually(t, "the goroutines are gone", func() bool { return b.goroutines() <= before+5 })
}

// An endless head in CONTINUATION frames ends the connection early.
func TestHeaderFlood(t *testing.T) {
	b := start(t, func(c *edge.Config) { c.Public.MaxHeaderBytes = 64 << 10 })
	b.connect(0, 0, origin)
	before := b.goroutines()
	f := b.framer()
	go func() {
		for {
			if _, err := f.ReadFrame(); err != nil {
				return
			}
		}
	}()
	sent, block := 0, f.block("x-flood", strings.Repeat("x", 16000))
	_ = f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: f.block(":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a"),
	})
	for sent < 64<<20 {
		if err := f.WriteContinuation(1, false, block); err != nil {
			break
		}
		sent += len(block)
	}
	if sent >= 64<<20 {
		t.Errorf("the edge read %d bytes of one head", sent)
	}
	t.Logf("cut off after %d bytes", sent)
	_ = f.conn.Close()
	testkit.Eventually(t, "the goroutines are gone", func() bool { return b.goroutines() <= before+5 })
}

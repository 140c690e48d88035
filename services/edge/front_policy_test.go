package edge_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

// requestOf decodes the body of a response to /request.
func requestOf(t *testing.T, body []byte) *stream.Request {
	t.Helper()
	var req stream.Request
	if err := json.Unmarshal(body, &req); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return &req
}

// TestHeaderLimits: a head counts by its decoded size, and a head beyond a limit does not reach the connector.
func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		if strings.Contains(req.Dest, "/refused") {
			t.Errorf("a request beyond a limit reached the connector: %.80s", req.Dest)
		}
		respond(st, "200", "Content-Length", "0")
		end(st)
	})
	for name, c := range b.clients() {
		for kind, k := range map[string]struct {
			path   string
			fields int
			size   int
			status int
		}{
			"at the limits":   {"/" + strings.Repeat("a", 16000), 200, 500, 200},
			"many fields":     {"/refused", 300, 1, 431},
			"far too many":    {"/refused", 3000, 1, 431},
			"large fields":    {"/refused", 100, 2000, 431},
			"one large field": {"/refused", 1, 140 << 10, 431},
			"long target":     {"/refused/" + strings.Repeat("a", 17000), 0, 0, 414},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+k.path, nil)
			for i := range k.fields {
				req.Header[fmt.Sprintf("X-%d", i)] = []string{strings.Repeat("v", k.size)}
			}
			resp, err := c.client.Do(req)
			if err != nil {
				// Over HTTP/2 the client knows the limit from the settings. On a new connection it may send before it has them:
				// then net/http ends the connection.
				if text := err.Error(); k.status == http.StatusOK || !strings.Contains(text, "peer's advertised limit") &&
					!strings.Contains(text, "GOAWAY") {
					t.Errorf("%s, %s: %v", name, kind, err)
				}
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != k.status {
				t.Errorf("%s, %s: status %d, want %d", name, kind, resp.StatusCode, k.status)
			}
		}
	}
	resp, body := b.raw("GET /refused HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a:\r\n", 100_000) + "\r\n")
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || resp.Header.Get("Culvert-Error") != "head_too_large" || !resp.Close {
		t.Errorf("tiny fields: status %d, %q: %s", resp.StatusCode, resp.Header, body)
	}
	trailers := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a:\r\n", 1000) + "\r\n"
	if resp, body := b.raw(trailers); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge && resp.StatusCode != http.StatusOK {
		t.Errorf("tiny trailers: status %d: %s", resp.StatusCode, body)
	}
}

// TestRefusalComesAfterEarlierResponses: the refusal of a pipelined request must not overtake the response before it.
func TestRefusalComesAfterEarlierResponses(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	c := b.tcp()
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /bytes?n=5 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("a:\r\n", 300)+"\r\n")
	br := bufio.NewReader(c)
	for _, want := range []int{200, 431} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
}

// TestResponseLimits: a response with too many fields is an error page, and the request is not sent again.
func TestResponseLimits(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	seen := make(chan struct{}, 10)
	large := func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		seen <- struct{}{}
		respond(st, "200", slices.Repeat([]string{"A", "1"}, 300)...)
		end(st)
	}
	b.connect(0, 0, large)
	b.connect(1, 1, large)
	resp, body := b.get("/")
	if resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Culvert-Error") != "connector_error" {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if len(seen) != 1 {
		t.Errorf("the request was sent %d times", len(seen))
	}
}

// TestResponseLimitIsASetting: a response with more fields than the default passes where the operator allows it.
func TestResponseLimitIsASetting(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxHeaderFields, c.Public.MaxHeaderBytes = 1000, 1<<20 })
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		respond(st, "200", slices.Repeat([]string{"A", strings.Repeat("1", 500)}, 900)...)
		end(st)
	})
	b.client.Transport.(*http.Transport).MaxResponseHeaderBytes = 2 << 20
	resp, body := b.get("/")
	if n := len(resp.Header["A"]); resp.StatusCode != http.StatusOK || n != 900 {
		t.Errorf("status %d, %d fields: %s", resp.StatusCode, n, body)
	}
}

// h2Raw is a connection of HTTP/2 on which a test writes frames.
type h2Raw struct {
	t   *testing.T
	f   *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
}

func (b *bench) h2Raw() *h2Raw {
	b.t.Helper()
	c := b.tcp()
	b.t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, http2.ClientPreface)
	r := &h2Raw{t: b.t, f: http2.NewFramer(c, bufio.NewReader(c))}
	r.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.buf)
	_ = r.f.WriteSettings()
	return r
}

// send sends a request without a body; fields are names and values in turn.
func (r *h2Raw) send(id uint32, fields ...string) {
	r.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	head := http2.HeadersFrameParam{StreamID: id, BlockFragment: r.buf.Bytes(), EndStream: true, EndHeaders: true}
	if err := r.f.WriteHeaders(head); err != nil {
		r.t.Fatal(err)
	}
}

// status waits for the response to a request; a reset stream is "reset".
func (r *h2Raw) status(id uint32) string {
	r.t.Helper()
	for {
		frame, err := r.f.ReadFrame()
		if err != nil {
			r.t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = r.f.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset"
			}
		}
	}
}

// TestHeadersOfOneConnection: a reference to the compression table is short on the wire, so the decoded headers of all requests of a
// connection are bounded.
func TestHeadersOfOneConnection(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxConnectionHeaderBytes = 300 << 10 })
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		arrived <- struct{}{}
		<-release
		respond(st, "200", "Content-Length", "0")
		end(st)
	})
	r := b.h2Raw()
	head := []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}
	for range 30 {
		head = append(head, "x-large", strings.Repeat("v", 4000))
	}
	r.send(1, head...)
	r.send(3, head...)
	<-arrived
	<-arrived
	r.send(5, head...)
	if got := r.status(5); got != "431" {
		t.Errorf("the third large head got %s", got)
	}
	close(release)
	if got := r.status(1); got != "200" {
		t.Errorf("the first got %s", got)
	}
	id := uint32(5)
	testkit.Eventually(t, "the others no longer count", func() bool {
		id += 2
		r.send(id, head...)
		return r.status(id) == "200"
	})
}

// TestRequestsOverHTTP2ThatHTTP1Refuses: requests that the guard refuses over HTTP/1 are refused over HTTP/2 as well.
func TestRequestsOverHTTP2ThatHTTP1Refuses(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		if !strings.HasSuffix(req.Dest, "/fine") {
			t.Errorf("%q reached the connector", req.Dest)
		}
		respond(st, "200", "Content-Length", "0")
		end(st)
	})
	r := b.h2Raw()
	for i, c := range []struct {
		fields []string
		want   []string
	}{
		{[]string{":authority", "a.test", ":path", "/fine"}, []string{"200"}},
		{[]string{":authority", "a.test", ":path", "/fine", "host", "A.test"}, []string{"200"}},
		{[]string{":authority", "a.test", ":path", "/x", "host", "b.test"}, []string{"400"}},
		{[]string{":authority", "a.test", ":path", "/x?a HTTP/1.1"}, []string{"400", "reset"}},
		{[]string{":authority", "a.test", ":path", "/x\x01"}, []string{"400", "reset"}},
		{[]string{":authority", "a.test", ":path", "/x\x7f"}, []string{"400", "reset"}},
		{[]string{":authority", "a.test", ":path", "/x", ":protocol", "websocket"}, []string{"400", "reset"}},
	} {
		id := uint32(2*i + 1)
		r.send(id, append([]string{":method", "GET", ":scheme", "http"}, c.fields...)...)
		if got := r.status(id); !slices.Contains(c.want, got) {
			t.Errorf("%q: %s, want %s", c.fields, got, c.want)
		}
	}
}

func TestMethodsThatAreNotPassedOn(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodTrace, c.base+"/request", nil)
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: TRACE got %d", name, resp.StatusCode)
		}
	}
}

// forged are fields that only an edge may assert.
func forged() http.Header {
	return http.Header{
		"Cf-Access-Authenticated-User-Email": {"admin@example.com"}, "Cf-Ipcountry": {"CH"}, "Cf-Worker": {"x"}, "True-Client-Ip": {"1.1.1.1"},
		"X-Real-Ip": {"1.1.1.1"}, "Forwarded": {"for=1.1.1.1"}, "X-Original-Url": {"/admin"}, "X-Forwarded-Port": {"1"}, "Proxy": {"http://evil"},
		"X_real_ip": {"1.1.1.1"}, "Cf-Access-Jwt-Assertion": {"signed"},
	}
}

// TestForgedFields: fields that an origin trusts because the edge sets them cannot come from a visitor.
func TestForgedFields(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	sockets := make(chan *stream.Request, 1)
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if req.Type == stream.WebSocket {
			sockets <- req
			respond(st, "404", "Content-Length", "0")
			end(st)
			return
		}
		origin(p, req, body, st)
	})
	check := func(name string, req *stream.Request) {
		for field := range forged() {
			if got, want := len(header(req, field)), field == "Cf-Access-Jwt-Assertion"; (got > 0) != want {
				t.Errorf("%s: %s came %d times", name, field, got)
			}
		}
	}
	for name, c := range b.clients() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/request", nil)
		req.Header = forged()
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		check(name, requestOf(t, body))
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, b.PublicURL()+"/", nil)
	req.Header = forged()
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	b.do(req)
	check("websocket", <-sockets)
}

// TestLoop: a request to a tunnel whose origin is the edge itself ends in an error page after a few hops.
func TestLoop(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	hops := make(chan struct{}, 100)
	b.connect(0, 0, func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		hops <- struct{}{}
		again, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, b.PublicURL()+"/", nil)
		again.Header["Cdn-Loop"] = header(req, "Cdn-Loop")
		resp, err := b.client.Do(again)
		if err != nil {
			st.CancelWrite(0)
			return
		}
		_ = resp.Body.Close()
		respond(st, fmt.Sprint(resp.StatusCode), "Content-Length", "0")
		end(st)
	})
	resp, _ := b.get("/")
	if resp.StatusCode != http.StatusLoopDetected || len(hops) > 10 {
		t.Errorf("status %d after %d hops", resp.StatusCode, len(hops))
	}
}

// TestSwitchWithoutAcceptKey: a visitor never sees 101 for a response that does not accept its handshake.
func TestSwitchWithoutAcceptKey(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"101", "200"} {
		b := start(t, nil)
		b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
			respond(st, status, "Connection", "keep-alive", "Sec-Websocket-Accept", "bm90IHRoZSBrZXk=", "Content-Length", "0")
			end(st)
		})
		resp, _ := b.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("status %s of the connector became 101", status)
		}
	}
}

// TestOtherUpgrades: a request for a protocol that the edge does not carry never runs as an ordinary request.
func TestOtherUpgrades(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for protocol, want := range map[string]int{"foo/1": http.StatusNotImplemented, "h2c": http.StatusOK, "": http.StatusOK} {
		head := "GET /bytes?n=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
		if protocol != "" {
			head += "Upgrade: " + protocol + "\r\n"
		}
		if resp, _ := b.raw(head + "Connection: close\r\n\r\n"); resp.StatusCode != want {
			t.Errorf("upgrade to %q: status %d, want %d", protocol, resp.StatusCode, want)
		}
	}
}

// TestShareOfAnAddress: one address cannot use up the limit of all connections.
func TestShareOfAnAddress(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxConnections, c.Public.MaxConnectionsPerAddress = 10, 3 })
	b.connect(0, 0, origin)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range 3 {
		c := b.tcp()
		_, _ = io.WriteString(c, "GET /bytes?n=1 HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	wantRefusal(t, "fourth connection of an address", strings.TrimPrefix(b.PublicURL(), "http://"))
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c2, err := other.DialContext(t.Context(), "tcp", strings.TrimPrefix(b.PublicURL(), "http://"))
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer func() { _ = c2.Close() }()
	_, _ = io.WriteString(c2, "GET /bytes?n=1 HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c2), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("another address: %v, %v", resp, err)
	}
}

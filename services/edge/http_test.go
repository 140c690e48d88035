package edge_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

// origin is the script of most tests: the path selects the response.
func origin(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
	u, err := url.Parse(req.Dest)
	if err != nil {
		st.CancelWrite(0)
		return
	}
	switch u.Path {
	case "/echo":
		fields := []string{"Content-Type", "application/octet-stream"}
		if l := header(req, "Content-Length"); len(l) > 0 {
			fields = append(fields, "Content-Length", l[0])
		}
		respond(st, "200", fields...)
		_, _ = io.Copy(struct{ io.Writer }{st}, body)
	case "/bytes":
		n, _ := strconv.Atoi(u.Query().Get("n"))
		respond(st, "200", "Content-Length", strconv.Itoa(n))
		_, _ = st.Write(pattern(n))
	case "/sink":
		h := sha256.New()
		n, err := io.Copy(h, body)
		respond(st, "200", "X-Sum", fmt.Sprintf("%x", h.Sum(nil)), "X-Err", fmt.Sprint(err))
		_, _ = st.Write([]byte(strconv.FormatInt(n, 10)))
	case "/request":
		b, _ := json.Marshal(req)
		respond(st, "200", "Content-Type", "application/json")
		_, _ = st.Write(b)
	case "/status":
		respond(st, u.Query().Get("code"), "Content-Length", "5", "X-A", "1", "X-A", "2", "Connection", "X-Hop", "X-Hop", "1",
			"Cf-Int-Secret", "1", "Cf-Cloudflared-Secret", "1", "Keep-Alive", "1")
		if header(req, "X-Body") != nil {
			_, _ = st.Write([]byte("hello"))
		}
	case "/short":
		respond(st, "200", "Content-Length", "100")
		_, _ = st.Write(pattern(50))
	case "/long":
		respond(st, "200", "Content-Length", "10")
		_, _ = st.Write(pattern(50))
	case "/reset":
		respond(st, "200")
		_, _ = st.Write(pattern(50))
		_, _ = io.ReadFull(body, make([]byte, 1)) // the visitor has seen the beginning
		st.CancelWrite(0)
		return
	case "/error":
		send(st, &stream.Response{Error: "Unable to reach the origin service: dial tcp 10.1.2.3:80: connect: connection refused"})
	case "/refuse":
		send(st, &stream.Response{Error: "refused by 10.1.2.3", Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: u.Query().Get("status")}}})
	case "/garbage":
		_, _ = st.Write(bytes.Repeat([]byte("garbage "), 100))
	case "/lose":
		p.work.Go(func() { _ = p.sess.CloseWithError(0, "") })
		return
	case "/empty":
	case "/early":
		respond(st, "413", "Content-Length", "5")
		_, _ = st.Write([]byte("early"))
	default:
		respond(st, "404", "Content-Length", "0")
	}
	end(st)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func (b *bench) do(req *http.Request) (*http.Response, []byte) {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: body: %v", req.Method, req.URL, err)
	}
	return resp, body
}

func (b *bench) get(path string) (*http.Response, []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.PublicURL()+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

// clients are visitors over HTTP/1, cleartext HTTP/2 and HTTP/2 over TLS.
func (b *bench) clients() map[string]struct {
	client *http.Client
	base   string
} {
	h2c, h2 := new(http.Protocols), new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	h2.SetHTTP2(true)
	mk := func(p *http.Protocols) *http.Client {
		tr := &http.Transport{Protocols: p, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: b.roots(), ServerName: "localhost"}}
		b.t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	return map[string]struct {
		client *http.Client
		base   string
	}{
		"http1": {b.client, b.PublicURL()},
		"h2c":   {mk(h2c), b.PublicURL()},
		"h2":    {mk(h2), b.PublicTLSURL()},
	}
}

// beyondWindow is larger than the largest window of a stream of every transport, in bytes.
const beyondWindow = 7 << 20

func TestBodiesOfAllSizes(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	b.connect(1, 1, origin)
	for name, c := range b.clients() {
		for _, n := range []int{0, 1, 100, 1200, 32 << 10, 32<<10 + 1, 1 << 20, beyondWindow} {
			for _, known := range []bool{true, false} {
				if n == beyondWindow && (known || name == "h2") {
					continue // this size is for the windows, for which the length and TLS make no difference
				}
				t.Run(fmt.Sprintf("%s/%d/known=%v", name, n, known), func(t *testing.T) {
					want := pattern(n)
					var body io.Reader = bytes.NewReader(want)
					if !known {
						body = struct{ io.Reader }{body}
					}
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/echo", body)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := c.client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("echo of %d bytes: %d bytes, %v", n, len(got), err)
					}
					if known && resp.ContentLength != int64(n) {
						t.Errorf("Content-Length = %d, want %d", resp.ContentLength, n)
					}
				})
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for i := range 4 {
		b.connect(i%2, tunnel.ConnIndex(i), origin)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			n := []int{0, 10, 1000, 100_000, 256 << 10}[i%5]
			want := pattern(n)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.PublicURL()+"/echo", bytes.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := b.client.Do(req)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
				t.Errorf("request %d: %d bytes of %d, %v", i, len(got), n, err)
			}
		})
	}
	wg.Wait()
	testkit.Eventually(t, "nothing is in flight", func() bool {
		list, err := b.admin.ListConnections(t.Context())
		if err != nil || len(list) != 4 {
			t.Fatalf("connections: %d, %v", len(list), err)
		}
		for _, c := range list {
			if c.InFlight != 0 {
				return false
			}
		}
		return true
	})
}

func TestRequestThroughTheTunnel(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, b.PublicURL()+"/request?a=1&b=%2F%7c", strings.NewReader("abc"))
	req.Host = "App.Example.com:8080"
	req.Header = http.Header{
		"X-Forwarded-For":   {"1.1.1.1", "2.2.2.2"},
		"X-Forwarded-Proto": {"gopher"},
		"Cf-Connecting-Ip":  {"6.6.6.6"},
		"Cf_connecting_ip":  {"6.6.6.6"},
		"Cf-Ray":            {"fake"},
		"Cf-Cloudflared-Proxy-Connection-Upgrade": {"websocket"},
		"Cf-Warp-Tag-Id":      {"x"},
		"Cf-Int-X":            {"x"},
		"Cf-Trace-Id":         {"a:b:c:d"},
		"Connection":          {"X-Private, close"},
		"X-Private":           {"x"},
		"Proxy-Authorization": {"x"},
		"Te":                  {"gzip, trailers"},
		"Cookie":              {"a=1; b=2"},
		"X-Multi":             {"1", "2"},
		"User-Agent":          {"test"},
	}
	_, body := b.do(req)
	var got stream.Request
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if got.Dest != "http://App.Example.com:8080/request?a=1&b=%2F%7c" || got.Type != stream.HTTP {
		t.Errorf("dest %q, type %d", got.Dest, got.Type)
	}
	seen := make(map[string][]string)
	for _, p := range got.Metadata {
		seen[strings.TrimPrefix(p.Key, stream.HeaderPrefix)] = append(seen[strings.TrimPrefix(p.Key, stream.HeaderPrefix)], p.Val)
	}
	ray := seen["Cf-Ray"]
	delete(seen, "Cf-Ray")
	if loop := seen["Cdn-Loop"]; len(loop) != 1 || !strings.HasPrefix(loop[0], "culvert-") {
		t.Errorf("Cdn-Loop = %q", loop)
	}
	delete(seen, "Cdn-Loop")
	delete(seen, "Accept-Encoding")
	delete(seen, stream.KeyAccept) // what the connector's end of HTTP/2 adds
	if len(ray) != 1 || !strings.HasSuffix(ray[0], "-local") || len(ray[0]) != 16+len("-local") {
		t.Errorf("Cf-Ray = %q", ray)
	}
	want := map[string][]string{
		"HttpMethod": {"PUT"}, "HttpHost": {"App.Example.com:8080"},
		"X-Forwarded-For":   {"1.1.1.1, 2.2.2.2, 127.0.0.1"},
		"X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"App.Example.com:8080"}, "Cf-Connecting-Ip": {"127.0.0.1"},
		"Te": {"trailers"}, "Cookie": {"a=1; b=2"}, "X-Multi": {"1", "2"}, "User-Agent": {"test"}, "Content-Length": {"3"},
	}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("metadata\n got %v\nwant %v", seen, want)
	}
}

func TestBodyFraming(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for _, c := range []struct {
		name, raw        string
		length, transfer string
	}{
		{"get", "GET /request HTTP/1.1\r\nHost: a\r\n\r\n", "[]", "[]"},
		{"post zero", "POST /request HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "[0]", "[]"},
		{"post nothing said", "POST /request HTTP/1.1\r\nHost: a\r\n\r\n", "[]", "[]"},
		{"chunked", "POST /request HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "[]", "[chunked]"},
		{"length", "POST /request HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "[2]", "[]"},
		{"http/1.0", "GET /request HTTP/1.0\r\nHost: a\r\n\r\n", "[]", "[]"},
	} {
		resp, body := b.raw(c.raw)
		var got stream.Request
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, body)
			continue
		}
		if l, e := fmt.Sprint(header(&got, "Content-Length")), fmt.Sprint(header(&got, "Transfer-Encoding")); l != c.length || e != c.transfer {
			t.Errorf("%s: Content-Length %s, Transfer-Encoding %s; want %s, %s", c.name, l, e, c.length, c.transfer)
		}
	}
}

// raw sends bytes on a new connection and reads one response.
func (b *bench) raw(text string) (*http.Response, []byte) {
	b.t.Helper()
	c := b.tcp()
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, text); err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		b.t.Fatalf("response to %q: %v", text, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("response to %q: %v", text, err)
	}
	_ = resp.Body.Close()
	return resp, body
}

func (b *bench) tcp() *net.TCPConn {
	b.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(b.PublicURL(), "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	return c.(*net.TCPConn)
}

func TestResponses(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		for _, k := range []struct {
			method string
			code   int
			body   string
			length int64
		}{
			{"GET", 200, "hello", 5},
			{"GET", 500, "hello", 5},
			{"HEAD", 200, "", 5},
			{"GET", 204, "", -2},
			{"GET", 304, "", -2},
			{"GET", 599, "hello", 5},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), k.method, fmt.Sprintf("%s/status?code=%d", c.base, k.code), nil)
			if k.body != "" {
				req.Header.Set("X-Body", "1")
			}
			resp, err := c.client.Do(req)
			if err != nil {
				t.Errorf("%s %s %d: %v", name, k.method, k.code, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(body) != k.body || resp.StatusCode != k.code || (k.length >= -1 && resp.ContentLength != k.length) {
				t.Errorf("%s %s %d: %d %q, length %d, %v", name, k.method, k.code, resp.StatusCode, body, resp.ContentLength, err)
			}
			if got := fmt.Sprint(resp.Header["X-A"]); got != "[1 2]" {
				t.Errorf("%s: X-A = %s", name, got)
			}
			for _, gone := range []string{"X-Hop", "Keep-Alive", "Connection", "Cf-Int-Secret", "Cf-Cloudflared-Secret", "Content-Type"} {
				if v, ok := resp.Header[gone]; ok {
					t.Errorf("%s: %s = %v reached the visitor", name, gone, v)
				}
			}
		}
	}
}

func TestBrokenResponsesNeverLookComplete(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		if resp, err := c.client.Get(c.base + "/short"); err == nil { // or it broke off before the head was out
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil {
				t.Errorf("%s: a response shorter than declared: %d bytes and a clean end", name, len(body))
			}
		}
		pr, pw := io.Pipe()
		post, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/reset", pr)
		resp, err := c.client.Do(post)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 50)); err != nil {
			t.Errorf("%s: the beginning of the body: %v", name, err)
		}
		_, _ = pw.Write([]byte("x"))
		if more, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: a reset response: %d more bytes and a clean end", name, len(more))
		}
		_ = resp.Body.Close()
		_ = pw.Close()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/long", nil)
		resp, err = c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 10 {
			t.Errorf("%s: a body longer than declared: %d bytes, %v; want 10", name, len(body), err)
		}
		_ = resp.Body.Close()
	}
}

func TestErrorPages(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Bootstrap.Routes = []string{"up.test"} })
	if _, err := b.admin.CreateTunnel(t.Context(), "down"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.AddRoute(t.Context(), "*.down.test", "down"); err != nil {
		t.Fatal(err)
	}
	b.connect(0, 0, origin)
	for _, c := range []struct {
		host, path, upgrade string
		status              int
		code                string
	}{
		{"nowhere.test", "/", "", 404, "unknown_host"},
		{"a.down.test", "/", "", 503, "no_connector"},
		{"up.test", "/error", "", 502, "origin_unreachable"},
		{"up.test", "/refuse?status=400", "", 400, "bad_request"},
		{"up.test", "/refuse?status=501", "", 501, "kind_unsupported"},
		{"up.test", "/refuse?status=502", "", 502, "origin_unreachable"},
		{"up.test", "/refuse?status=503", "", 503, "connector_unavailable"},
		{"up.test", "/refuse?status=504", "", 504, "origin_timeout"},
		{"up.test", "/refuse?status=200", "", 502, "origin_unreachable"},
		{"up.test", "/garbage", "", 502, "connector_error"},
		{"up.test", "/empty", "", 502, "connector_error"},
		{"up.test", "/status?code=101", "", 502, "connector_error"},
		{"up.test", "/status?code=abc", "", 502, "connector_error"},
		{"up.test", "/error", "websocket", 502, "origin_unreachable"},
		{"up.test", "/empty", "websocket", 502, "connector_error"},
		{"a..b", "/", "", 400, "bad_host"},
		{"up.test", "/lose", "", 502, "connector_lost"}, // last: it ends the session
	} {
		for _, accept := range []string{"text/html", "*/*"} {
			if c.code == "connector_lost" && accept == "*/*" {
				continue
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, b.PublicURL()+c.path, nil)
			req.Host = c.host
			req.Header.Set("Accept", accept)
			if c.upgrade != "" {
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", c.upgrade)
			}
			resp, body := b.do(req)
			ray := resp.Header.Get("Cf-Ray")
			if resp.StatusCode != c.status || resp.Header.Get("Culvert-Error") != c.code || ray == "" || !strings.Contains(string(body), ray) {
				t.Errorf("%s%s: %d %q %q; want %d %s", c.host, c.path, resp.StatusCode, resp.Header.Get("Culvert-Error"), body, c.status, c.code)
			}
			if again := resp.Header.Get("Retry-After"); (again != "") != (c.status == http.StatusServiceUnavailable) {
				t.Errorf("%s%s: status %d with Retry-After %q", c.host, c.path, c.status, again)
			}
			if html := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"); html != (accept == "text/html") {
				t.Errorf("%s%s: Content-Type %s for Accept %s", c.host, c.path, resp.Header.Get("Content-Type"), accept)
			}
			if strings.Contains(string(body), "10.1.2.3") {
				t.Errorf("%s%s: the page shows an internal address", c.host, c.path)
			}
		}
	}
}

func TestErrorPageOfAnOriginThatHangs(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.ResponseHeaderTimeout = 10 * time.Millisecond })
	b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { <-st.Context().Done() })
	resp, _ := b.get("/")
	if code := resp.Header.Get("Culvert-Error"); resp.StatusCode != http.StatusGatewayTimeout || code != "origin_timeout" {
		t.Errorf("%d %q; want 504 origin_timeout", resp.StatusCode, code)
	}
}

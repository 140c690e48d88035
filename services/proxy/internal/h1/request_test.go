package h1_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// wire is what an origin reads: the request line, the header lines in order of names, and what follows up to the client's
// end of the connection.
type wire struct {
	Line, Rest string
	Lines      []string
}

// capture gives the bytes that a client sends for a request.
func capture(t *testing.T, rt http.RoundTripper, build func(addr string) *http.Request, response string) (wire, error) {
	t.Helper()
	got := make(chan wire, 1)
	o := newOrigin(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		head, err := readHead(br)
		if err != nil {
			return
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
		w := wire{Line: lines[0], Lines: lines[1:]}
		if strings.Contains(head, "chunked") || strings.Contains(head, "Content-Length: 5") {
			body := make([]byte, 5)
			if strings.Contains(head, "chunked") {
				body = make([]byte, len("5\r\nhello\r\n0\r\n\r\n"))
			}
			_, _ = io.ReadFull(br, body)
			w.Rest = string(body)
		}
		slices.Sort(w.Lines)
		_, _ = io.WriteString(c, response)
		got <- w
		_, _ = io.Copy(io.Discard, br)
	})
	r := run(rt, build(o.addr))
	if r.err != nil {
		return wire{}, r.err
	}
	return testkit.Receive(t, "request", got), nil
}

// TestWireLikeNetHTTP sends the same requests with both clients.
func TestWireLikeNetHTTP(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{"User-Agent": {"u"}}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
		}
		return h
	}
	for name, r := range map[string]http.Request{
		"get":              {},
		"no agent":         {Header: http.Header{"User-Agent": nil}},
		"agents":           {Header: header("User-Agent", "v")},
		"host":             {Host: "app.example.com:8443"},
		"address host":     {Host: "[::1]:80"},
		"headers":          {Header: header("A", "1", "A", "2", "B", "", "C", " x\ty ", "Cookie", "a=b; c", "D", "\xff")},
		"keep-alive":       {Header: header("Connection", "keep-alive")},
		"framing is anew":  {Header: header("Content-Length", "7", "Transfer-Encoding", "chunked", "Host", "x", "Trailer", "y")},
		"post nothing":     {Method: http.MethodPost},
		"put nothing":      {Method: http.MethodPut, Body: http.NoBody},
		"patch nothing":    {Method: http.MethodPatch, Body: http.NoBody},
		"delete nothing":   {Method: http.MethodDelete, Body: http.NoBody},
		"unusual":          {Method: "BREW", Body: http.NoBody},
		"options":          {Method: http.MethodOptions, URL: &url.URL{Path: "*"}},
		"escaped":          {URL: &url.URL{Path: "/a b/c", RawPath: "/a%20b%2Fc", RawQuery: "x=%zz"}},
		"path to escape":   {URL: &url.URL{Path: "/ä b|c"}},
		"empty path":       {URL: &url.URL{}},
		"lone mark":        {URL: &url.URL{Path: "/", ForceQuery: true}},
		"slashes and dots": {URL: &url.URL{Path: "//a/../b"}},
		"sized":            {Method: http.MethodPost, ContentLength: 5},
		"sized get":        {ContentLength: 5},
		"chunked":          {Method: http.MethodPost, ContentLength: -1},
		"length unset":     {Method: http.MethodPut},
	} {
		t.Run(name, func(t *testing.T) {
			build := func(addr string) *http.Request {
				q := r
				u := url.URL{Path: "/"}
				if r.URL != nil {
					u = *r.URL
				}
				u.Scheme, u.Host = "http", addr
				q.URL = &u
				if q.Host == "" {
					q.Host = "app"
				}
				if q.Header == nil {
					q.Header = header()
				}
				if q.ContentLength != 0 || name == "length unset" {
					q.Body = io.NopCloser(strings.NewReader("hello"))
				}
				return q.WithContext(t.Context())
			}
			ref := &http.Transport{DisableCompression: true}
			defer ref.CloseIdleConnections()
			want, err := capture(t, ref, build, okResponse)
			if err != nil {
				t.Fatalf("net/http: %v", err)
			}
			got, err := capture(t, transport(t, nil), build, okResponse)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("on the wire (-net/http +h1):\n%s", diff)
			}
		})
	}
}

func TestTrailersAreSent(t *testing.T) {
	got := make(chan *http.Request, 1)
	o := newOrigin(t, func(_ int, c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r
		_, _ = io.WriteString(c, okResponse)
	})
	r := request(t, t.Context(), http.MethodPost, o.addr, nil)
	r.Trailer = http.Header{"X-Sum": nil}
	r.ContentLength = -1
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) {
		r.Trailer.Set("X-Sum", "5")
		return 0, io.EOF
	})))
	wantOK(t, "response", run(transport(t, nil), r))
	if sum := testkit.Receive(t, "request", got).Trailer.Get("X-Sum"); sum != "5" {
		t.Errorf("trailer %q, want 5", sum)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestDelegates lists what is not for this package.
func TestDelegates(t *testing.T) {
	proxied := func(c *h1.Config) {
		c.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: "proxy"}, nil }
	}
	proxyFails := func(c *h1.Config) {
		c.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("bad proxy") }
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{value} }
	}
	body := func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("hello")) }
	for name, tc := range map[string]struct {
		config func(*h1.Config)
		change func(*http.Request)
	}{
		"tls":                 {nil, func(r *http.Request) { r.URL.Scheme = "https" }},
		"no url":              {nil, func(r *http.Request) { r.URL = nil }},
		"no host":             {nil, func(r *http.Request) { r.URL.Host = "" }},
		"opaque url":          {nil, func(r *http.Request) { r.URL.Opaque = "//x/y" }},
		"relative path":       {nil, func(r *http.Request) { r.URL.Path = "x" }},
		"line end in query":   {nil, func(r *http.Request) { r.URL.RawQuery = "x HTTP/1.1\r\nEvil: 1" }},
		"space in query":      {nil, func(r *http.Request) { r.URL.RawQuery = "x y" }},
		"upgrade":             {nil, set("Upgrade", "websocket")},
		"upgrade, lower case": {nil, set("upgrade", "websocket")},
		"connection: upgrade": {nil, set("Connection", "Upgrade")},
		"connection: close":   {nil, set("Connection", "close")},
		"close":               {nil, func(r *http.Request) { r.Close = true }},
		"expect":              {nil, set("Expect", "100-continue")},
		"connect":             {nil, func(r *http.Request) { r.Method = http.MethodConnect }},
		"method":              {nil, func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nEvil: 1\r\n" }},
		"header name":         {nil, set("A: b\r\nEvil", "1")},
		"no header name":      {nil, set("", "1")},
		"header value":        {nil, set("A", "b\r\nEvil: 1")},
		"agent":               {nil, set("User-Agent", "b\nEvil: 1")},
		"nul":                 {nil, set("A", "\x00")},
		"host":                {nil, func(r *http.Request) { r.Host = "a\r\nEvil: 1" }},
		"host with a slash":   {nil, func(r *http.Request) { r.Host = "a/b" }},
		"international host":  {nil, func(r *http.Request) { r.Host = "bücher.example" }},
		"zone":                {nil, func(r *http.Request) { r.URL.Host = "[fe80::1%eth0]:80" }},
		"codings":             {nil, func(r *http.Request) { r.TransferEncoding = []string{"gzip"} }},
		"length without body": {nil, func(r *http.Request) { r.ContentLength = 5 }},
		"get, unknown length": {nil, func(r *http.Request) { body(r); r.ContentLength = -1 }},
		"trailer name": {nil, func(r *http.Request) {
			body(r)
			r.Method, r.ContentLength, r.Trailer = http.MethodPost, -1, http.Header{"Content-Length": nil}
		}},
		"proxy":       {proxied, nil},
		"proxy fails": {proxyFails, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tr := transport(t, func(c *h1.Config) {
				c.DialContext = nil // a request that is not delegated panics
				if tc.config != nil {
					tc.config(c)
				}
			})
			r := request(t, t.Context(), http.MethodGet, "origin.test", nil)
			if tc.change != nil {
				tc.change(r)
			}
			if _, err := tr.RoundTrip(r); !errors.Is(err, errFallback) {
				t.Errorf("error %v, want the fallback's", err)
			}
		})
	}
}

// FuzzRequest looks for requests that an origin would read as something else, or as more than one.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a%20b", "x=1", "app.test", "A", "b", "u", int64(0))
	f.Add("POST", "//", "", "", "content-length", "5", "", int64(5))
	f.Add("PUT", "/\r\n", "x y", "a\r\nb", "Transfer-Encoding", "chunked", "x\ny", int64(-1))
	f.Add("BREW", "*", "\x00", "[::1]:80", "Connection", "close", "", int64(1))
	f.Fuzz(func(t *testing.T, method, path, query, host, name, value, agent string, length int64) {
		c := &fakeConn{response: okResponse}
		tr := h1.New(h1.Config{DialContext: c.dial, Fallback: noFallback{}})
		r := &http.Request{
			Method: method, URL: &url.URL{Scheme: "http", Host: "o.test", Path: path, RawQuery: query}, Host: host,
			Header: http.Header{name: {value}, "User-Agent": {agent}}, ContentLength: length,
		}
		if length > 0 && length < 1<<16 {
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("b", int(length))))
			c.patience = length // what comes after an early response is not sent
		}
		res, err := tr.RoundTrip(r.WithContext(t.Context()))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		sent := bufio.NewReader(strings.NewReader(c.written()))
		got, err := http.ReadRequest(sent)
		if err != nil {
			if strings.HasPrefix(err.Error(), "parse ") || strings.Contains(err.Error(), "invalid URI") {
				return // net/http sends targets that it does not read
			}
			t.Fatalf("unreadable: %v\n%q", err, c.written())
		}
		wantMethod := method
		if wantMethod == "" {
			wantMethod = http.MethodGet
		}
		got.Header.Del("Content-Length")
		if got.Method != wantMethod || len(got.Header) > 2 {
			t.Errorf("read as %s %v\n%q", got.Method, got.Header, c.written())
		}
		n, _ := io.Copy(io.Discard, got.Body)
		if n != max(0, length) || sent.Buffered() > 0 {
			t.Errorf("body of %d bytes, want %d; %d bytes follow\n%q", n, length, sent.Buffered(), c.written())
		}
	})
}

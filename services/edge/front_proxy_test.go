package edge_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge"
)

// TestTrustedProxy: the edge believes what a trusted proxy states about the visitor.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.TrustedProxies = []string{"127.0.0.0/8"} })
	b.connect(0, 0, origin)
	for name, c := range b.clients() {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/request", nil)
		req.Header = http.Header{
			"X-Forwarded-For": {"6.6.6.6, 192.0.2.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"app.test"}, "X-Forwarded-Port": {"443"},
			"Cf-Ipcountry": {"CH"}, "Cf-Int-X": {"x"},
		}
		resp, err := c.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got := requestOf(t, body)
		for field, want := range map[string]string{
			"Cf-Connecting-Ip": "192.0.2.7", "X-Forwarded-For": "6.6.6.6, 192.0.2.7, 127.0.0.1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "app.test", "X-Forwarded-Port": "443", "Cf-Ipcountry": "CH", "Cf-Int-X": "",
		} {
			if val := strings.Join(header(got, field), "|"); val != want {
				t.Errorf("%s: %s = %q, want %q", name, field, val, want)
			}
		}
		if !strings.HasPrefix(got.Dest, "https://") {
			t.Errorf("%s: destination %q", name, got.Dest)
		}
	}
}

// TestProxyProtocol: the header of the PROXY protocol names the visitor, and only a trusted proxy may send one.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.TrustedProxies, c.Public.ProxyProtocol = []string{"127.0.0.1"}, true })
	b.connect(0, 0, origin)
	const v1 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x12\x67\x01\xbb"
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	for name, c := range map[string]struct{ head, want string }{
		"version 1": {v1, "192.0.2.7"}, "version 2": {v2, "192.0.2.7"}, "IPv6": {"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", "2001:db8::7"},
		"unknown": {"PROXY UNKNOWN\r\n", "127.0.0.1"}, "local": {local, "127.0.0.1"},
	} {
		_, body := b.raw(c.head + "GET /request HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n")
		want := c.want
		if want == "127.0.0.1" { // the proxy itself speaks, and it is trusted
			want = "6.6.6.6"
		}
		if got := header(requestOf(t, body), "Cf-Connecting-Ip"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: visitor %q, want %s", name, got, want)
		}
	}
	tlsConn := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, v1)
		return tls.Client(c, &tls.Config{RootCAs: b.roots(), ServerName: "localhost"})
	}()
	defer func() { _ = tlsConn.Close() }()
	_, _ = io.WriteString(tlsConn, "GET /request HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(tlsConn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 64<<10)
	n, _ := resp.Body.Read(body)
	if !bytes.Contains(body[:n], []byte(`"192.0.2.7"`)) {
		t.Errorf("over TLS: %s", body[:n])
	}
	_ = resp.Body.Close()
	for name, head := range map[string]string{"no header": "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "broken": "PROXY TCP4 x\r\n"} {
		c := b.tcp()
		_, _ = io.WriteString(c, head)
		if got, err := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_ = c.Close()
	}
}

// TestProxyProtocolOfStrangers: a header of the PROXY protocol from another address is a malformed request.
func TestProxyProtocolOfStrangers(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.TrustedProxies, c.Public.ProxyProtocol = []string{"192.0.2.1"}, true })
	b.connect(0, 0, origin)
	const text = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
	if resp, _ := b.raw(text); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
	if resp, _ := b.get("/bytes?n=1"); resp.StatusCode != http.StatusOK {
		t.Errorf("without a header: status %d", resp.StatusCode)
	}
}

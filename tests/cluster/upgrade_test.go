package cluster

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// echoProtocol is an origin that switches to the protocol echo/1, which sends every byte back, and refuses every other one.
func echoProtocol(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "other/2, echo/1" || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Sec-Websocket-Version") != "" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\nX-Origin: yes\r\n\r\n"
	if _, err := io.WriteString(c, head+"welcome"); err != nil {
		return
	}
	_, _ = io.Copy(c, rw) // the visitor ends it
}

// TestUpgradeToAnotherProtocol lets a visitor and an origin switch to a protocol of their own.
func TestUpgradeToAnotherProtocol(t *testing.T) {
	s := newSystem(t, "")
	s.features = nil
	origin := httptest.NewServer(http.HandlerFunc(echoProtocol))
	t.Cleanup(origin.Close)
	s.route("*", "demo")
	s.supervisor()
	s.proxyWith("proxy-1", func(c *proxy.Config) { c.Origin.URL = origin.URL })
	s.workerOf("worker-1")
	s.connected(4)

	ask := func(protocols string) (*http.Response, net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.edge.PublicURL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		head := "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: " + protocols + "\r\n\r\n"
		if _, err := io.WriteString(c, head+"early "); err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp, c, br
	}
	testkit.Eventually(t, "the proxy serves", func() bool { status, _ := s.get("app.test"); return status == http.StatusTeapot })
	resp, c, br := ask("other/2, echo/1")
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "echo/1" || resp.Header.Get("X-Origin") != "yes" {
		t.Fatalf("response %s, header %v", resp.Status, resp.Header)
	}
	if _, err := io.WriteString(c, "bytes\x00\xff"); err != nil {
		t.Fatal(err)
	}
	const want = "welcomeearly bytes\x00\xff"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
		t.Errorf("received %q, %v, want %q", got, err, want)
	}
	if resp, _, _ := ask("unknown/9"); resp.StatusCode != http.StatusTeapot {
		t.Errorf("a protocol that the origin refuses: %s", resp.Status)
	}
}

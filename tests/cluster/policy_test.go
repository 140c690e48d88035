package cluster

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/services/proxy"
)

// TestPushDoesNotWidenTheLocalPolicy pushes rules that lead to a denied network and to a denied Unix socket: visitors are refused, and
// neither service gets a request. Another rule of the same document is served.
func TestPushDoesNotWidenTheLocalPolicy(t *testing.T) {
	var reached atomic.Int32
	admin := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	origin := httptest.NewServer(admin)
	t.Cleanup(origin.Close)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	local := httptest.NewUnstartedServer(admin)
	local.Listener = l
	local.Start()
	t.Cleanup(local.Close)

	s := newSystem(t, "")
	s.features = nil
	s.route("*", "demo")
	s.supervisor()
	s.proxyWith("proxy-1", func(c *proxy.Config) {
		c.Opener.Policy.DenyNetworks, c.Opener.Policy.AllowUnix = []string{"127.0.0.0/8"}, []string{"none"}
	})
	s.workerOf("worker-1")
	s.connected(4)
	states := s.push("demo", fmt.Sprintf(`{"ingress":[{"hostname":"net.test","service":%q},{"hostname":"unix.test","service":"unix:%s"},
		{"service":"http_status:418"}]}`, origin.URL, socket))
	for _, c := range states {
		if c.Error != "" || c.Applied != c.Pushed {
			t.Errorf("connection %d: version %d of %d, error %q", c.ConnIndex, c.Applied, c.Pushed, c.Error)
		}
	}
	for _, host := range []string{"net.test", "unix.test"} {
		if status, code := s.get(host); status != http.StatusForbidden || code != "policy_denied" {
			t.Errorf("%s: status %d, code %q, want 403 policy_denied", host, status, code)
		}
	}
	if status, _ := s.get("other.test"); status != http.StatusTeapot {
		t.Errorf("another rule: status %d", status)
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("the denied services got %d requests", n)
	}
}

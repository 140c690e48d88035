//go:build dropin

package dropin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// quickEdge is an edge whose quick service has the URL.
func quickEdge(t *testing.T, env ...string) (e *harness.Edge, url string) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	e = harness.StartEdge(t, append(env, "CULVERT_QUICK_LISTEN="+addr, "CULVERT_QUICK_DOMAIN=quick.example.com")...)
	return e, addr
}

// quick starts a program without an account. place are the words before the flags.
func (s subject) quick(t *testing.T, e *harness.Edge, service string, place ...string) *connector {
	t.Helper()
	metrics := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	ca := filepath.Join(e.Data, "ca.pem")
	args := append(place, "--hello-world", "--quick-service", service, "--cacert", ca, "--metrics", metrics, "--no-autoupdate",
		"--grace-period", "1s")
	for _, p := range e.Ports {
		args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
	}
	return &connector{Program: s.run(t, []string{"SSL_CERT_FILE=" + ca}, args...), metrics: metrics}
}

// page asks the edge for the page of a host.
func page(t *testing.T, e *harness.Edge, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestQuickTunnel: `tunnel --url` without an account is the first command of every tutorial, and scripts read the address from its box.
func TestQuickTunnel(t *testing.T) {
	plain, addr := quickEdge(t, "CULVERT_QUICK_PLAIN=true")
	secure, secureAddr := quickEdge(t)
	each(t, func(t *testing.T, s subject) {
		for name, tc := range map[string]struct {
			edge  *harness.Edge
			url   string
			place []string
		}{
			"tunnel": {plain, "http://" + addr, []string{"tunnel"}}, "program": {plain, "http://" + addr, nil},
			"tls": {secure, "https://" + secureAddr, []string{"tunnel"}},
		} {
			t.Run(name, func(t *testing.T) {
				c := s.quick(t, tc.edge, tc.url, tc.place...)
				c.Line(t, "|  Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):  |")
				host, _, _ := strings.Cut(c.Line(t, "|  https://"), " ")
				if label, ok := strings.CutSuffix(host, ".quick.example.com"); !ok || strings.Count(label, "-") != 3 {
					t.Errorf("host %q", host)
				}
				testkit.Eventually(t, "the page is served", func() bool {
					status, _ := page(t, tc.edge, host)
					return status == http.StatusOK
				})
				var body struct{ Hostname string }
				if _, text := c.get(t, "/quicktunnel"); json.Unmarshal([]byte(text), &body) != nil || body.Hostname != host {
					t.Errorf("/quicktunnel: %s, want %s", text, host)
				}
				list, err := tc.edge.Admin.ListConnections(t.Context())
				if err != nil || len(list) != 1 || list[0].Protocol != "quic" {
					t.Errorf("connections: %v, %v, want one over QUIC", list, err)
				}
			})
		}
	})
}

// TestQuickTunnelDisappears: the edge forgets a quick tunnel whose connector has gone.
func TestQuickTunnelDisappears(t *testing.T) {
	e, addr := quickEdge(t, "CULVERT_QUICK_PLAIN=true", "CULVERT_QUICK_KEEP_FOR=1s")
	each(t, func(t *testing.T, s subject) {
		c := s.quick(t, e, "http://"+addr, "tunnel")
		host, _, _ := strings.Cut(c.Line(t, "|  https://"), " ")
		testkit.Eventually(t, "the page is served", func() bool {
			status, _ := page(t, e, host)
			return status == http.StatusOK
		})
		c.Stop(t, syscall.SIGTERM)
		testkit.Eventually(t, "the tunnel has gone", func() bool {
			list, err := e.Admin.ListTunnels(t.Context())
			return err == nil && len(list) == 1
		})
	})
}

// TestQuickTunnelRefused: every refusal ends with exit code 1 and a reason, so that a service manager notices.
func TestQuickTunnelRefused(t *testing.T) {
	e, addr := quickEdge(t, "CULVERT_QUICK_PLAIN=true", "CULVERT_QUICK_PER_MINUTE=1")
	first := subject{name: "culvert", path: harness.Binary(t, "culvert")}.quick(t, e, "http://"+addr, "tunnel")
	first.Line(t, "|  https://")
	each(t, func(t *testing.T, s subject) {
		for name, tc := range map[string]struct{ service, want string }{
			"too many": {"http://" + addr, either(t, s, "too many quick tunnels were asked for", "failed to parse quick Tunnel ID",
				"the service's reason is shown")},
			"no JSON":    {e.URL, "failed to unmarshal quick Tunnel"},
			"no service": {"http://127.0.0.1:1", "failed to request quick Tunnel"},
		} {
			t.Run(name, func(t *testing.T) {
				c := s.quick(t, e, tc.service, "tunnel")
				if code := c.ExitCode(t); code != 1 || !strings.Contains(c.Out.String(), tc.want) {
					t.Errorf("exit code %d, no %q in\n%s", code, tc.want, c.Out)
				}
			})
		}
	})
}

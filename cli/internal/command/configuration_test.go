package command_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestConfigurationFromTheEdge sets a connector's rules at the edge, over both protocols.
func TestConfigurationFromTheEdge(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			e, metrics, dir := startEdge(t), testkit.FreeTCP(t).String(), t.TempDir()
			p := start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics},
				append(e.flags(), "run", "--protocol", protocol, "--hello-world", "--grace-period", "5s")...)
			c := client(t)
			testkit.Eventually(t, "the connector serves", func() bool {
				status, _ := fetch(t, c, e.PublicURL(), "a.example.com")
				return status == http.StatusOK
			})
			env := []string{"CULVERT_EDGE_ADMIN=unix:" + e.AdminSocket(), "HOME=" + dir}
			file := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			set := func(want int, args ...string) string {
				t.Helper()
				code, stdout, stderr := run(t, env, append([]string{"tunnel", "config", "set", "web"}, args...)...)
				if code != want {
					t.Fatalf("set %v: exit %d, %s", args, code, stderr)
				}
				return stdout + stderr
			}
			responds := func(host string, want int) {
				t.Helper()
				if status, _ := fetch(t, c, e.PublicURL(), host); status != want {
					t.Errorf("%s responds %d, want %d", host, status, want)
				}
			}
			if code, _, stderr := run(t, env, "tunnel", "config", "get", "web"); code != 1 || !strings.Contains(stderr, "not found") {
				t.Errorf("get before set: %d, %s", code, stderr)
			}
			out := set(0, file("c.yml", "ingress:\n- hostname: a.example.com\n  service: http_status:418\n- service: http_status:404\n"))
			if !strings.Contains(out, "Version 0") || !strings.Contains(out, protocol) {
				t.Errorf("set says %s", out)
			}
			responds("a.example.com", http.StatusTeapot)
			responds("b.example.com", http.StatusNotFound)
			set(0, file("c.json", `{"ingress":[{"service":"http_status:409"}]}`))
			responds("a.example.com", http.StatusConflict)
			if out := set(1, "--unchecked", file("bad.json", `{"ingress":[{"service":"http_status:42"}]}`)); !strings.Contains(out,
				"invalid HTTP status code: 42") {
				t.Errorf("set says %s", out)
			}
			responds("a.example.com", http.StatusConflict)
			if _, body := fetch(t, c, "http://"+metrics+"/config", ""); !strings.Contains(body, `"version":1`) {
				t.Errorf("/config = %s", body)
			}
			if code, stdout, _ := run(t, env, "tunnel", "config", "get", "web"); code != 0 || !strings.Contains(stdout, `"http_status:42"`) ||
				!strings.Contains(stdout, "Version 2") {
				t.Errorf("get: %d, %s", code, stdout)
			}
			out = set(0, file("unused.yml", "ingress:\n- {bogus: 1, hostname: A.example.com, service: 'http_status:404'}\n"+
				"- {hostname: a.example.com, service: 'http_status:404'}\n- service: http_status:410\n"))
			if !strings.Contains(out, "unused.yml: line 2, column 4: field bogus not found") || !strings.Contains(out, "Warning: Rule #2 ") {
				t.Errorf("set of a file that tunnel run warns about says %s", out)
			}
			set(1, file("empty.yml", "tunnel: x\n"))
			set(1, file("broken.json", "{"))
			if code := p.stop(t); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

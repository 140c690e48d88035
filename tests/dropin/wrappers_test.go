//go:build dropin

package dropin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// wrapperValues are what the words in capitals of an invocation stand for.
func wrapperValues(t *testing.T, e *harness.Edge, origin string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	creds, err := credential.ParseToken(e.Token)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	v := map[string]string{
		"TOKEN": e.Token, "ORIGIN": origin, "ID": creds.TunnelID.String(), "NAME": "peer", "LOG": filepath.Join(dir, "log"),
		"METRICS": fmt.Sprintf("0.0.0.0:%d", harness.FreePort(t)), "CREDENTIALS": file("credentials.json", credential.File(creds)),
		"TOKENFILE": file("token", []byte(e.Token+"\n")), "CERT": filepath.Join(dir, "cert.pem"),
	}
	config := map[string]any{
		"tunnel": v["ID"], "credentials-file": v["CREDENTIALS"], "no-autoupdate": true, "metrics": v["METRICS"],
		"ingress": []map[string]any{{"hostname": "x.example.com", "service": "http_status:418"}, {"service": origin}},
	}
	asJSON, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	v["JSON"] = file("config.json", asJSON)
	v["CONFIG"] = file("config.yaml", fmt.Appendf(nil, "tunnel: %s\ncredentials-file: %s\nno-autoupdate: true\nmetrics: %s\ningress:\n"+
		"- hostname: x.example.com\n  service: http_status:418\n- service: %s\n", v["ID"], v["CREDENTIALS"], v["METRICS"], origin))
	return v
}

// invocation reads a cell: a command line in quotes, and the variables after "env".
func invocation(t *testing.T, cell string, values map[string]string) (args, env []string) {
	t.Helper()
	quoted := strings.Split(cell, "`")
	if len(quoted) < 3 {
		t.Fatalf("no command line in %q", cell)
	}
	for _, word := range strings.Fields(quoted[1])[1:] {
		flag, value, joined := strings.Cut(word, "=")
		switch v, ok := values[word]; {
		case ok:
			word = v
		case joined && values[value] != "":
			word = flag + "=" + values[value]
		}
		args = append(args, word)
	}
	for i := 3; i < len(quoted); i += 2 {
		env = append(env, quoted[i]+"="+values[strings.TrimPrefix(quoted[i], "TUNNEL_")])
	}
	return args, env
}

// named is the subject by the name cloudflared, as a swapped binary is called.
func (s subject) named(t *testing.T) subject {
	t.Helper()
	link := filepath.Join(t.TempDir(), "cloudflared")
	if err := os.Symlink(s.path, link); err != nil {
		t.Fatal(err)
	}
	s.path = link
	return s
}

// TestWrappers walks the table of invocations in the guide for those who migrate.
func TestWrappers(t *testing.T) {
	e := harness.StartEdge(t)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "from the origin")
	}))
	defer origin.Close()
	for _, row := range tableAfter(t, "../../docs/migrate.md", "<!-- wrappers -->") {
		t.Run(row[0], func(t *testing.T) {
			each(t, func(t *testing.T, s subject) {
				s = s.named(t)
				values := wrapperValues(t, e, origin.URL)
				args, env := invocation(t, row[1], values)
				c := s.wrapped(t, e, values, env, args)
				c.awaitReady(t, http.StatusOK, connections)
				if strings.Contains(row[1], "CONFIG") || strings.Contains(row[1], "JSON") || strings.Contains(row[1], "ORIGIN") {
					c.visit(t, e, http.StatusOK, "from the origin")
				} else { // the rules of a token come from the vendor's account; without any there is a 503
					c.visit(t, e, http.StatusServiceUnavailable, "")
				}
				ready := s.run(t, nil, "tunnel", "--metrics", c.metrics, "ready")
				if code := ready.ExitCode(t); code != 0 {
					t.Errorf("tunnel ready ends with %d", code)
				}
				if code := c.Stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d after SIGTERM", code)
				}
				ready = s.run(t, nil, "tunnel", "--metrics", c.metrics, "ready")
				if code := ready.ExitCode(t); code != 1 {
					t.Errorf("tunnel ready ends with %d after the end, want 1", code)
				}
			})
		})
	}
}

// wrapped starts an invocation. What is not part of it, the address of the edge and its roots, comes from variables.
func (s subject) wrapped(t *testing.T, e *harness.Edge, values map[string]string, env, args []string) *connector {
	t.Helper()
	var edges []string
	for _, p := range e.Ports {
		edges = append(edges, fmt.Sprintf("127.0.0.1:%d", p))
	}
	env = append(env,
		"HOME=/nonexistent", "TUNNEL_EDGE="+strings.Join(edges, ","), "TUNNEL_CACERT="+filepath.Join(e.Data, "ca.pem"),
		"TUNNEL_GRACE_PERIOD=1s", "TUNNEL_METRICS="+values["METRICS"])
	return &connector{Program: s.run(t, env, args...), metrics: strings.Replace(values["METRICS"], "0.0.0.0", "127.0.0.1", 1)}
}

// visit requests the public address of the edge until the response is the expected one.
func (c *connector) visit(t *testing.T, e *harness.Edge, status int, body string) {
	t.Helper()
	testkit.Retry(t, "response", patience, func() error {
		resp, err := http.Get(e.URL)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && (resp.StatusCode != status || !strings.Contains(string(b), body)) {
			err = fmt.Errorf("status %d, want %d: %s", resp.StatusCode, status, b)
		}
		return err
	})
}

// TestVersionForWrappers: health checks call it, and scripts read its first words.
func TestVersionForWrappers(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		for _, args := range [][]string{{"--version"}, {"version"}, {"-v"}} {
			p := s.named(t).run(t, nil, args...)
			if code := p.ExitCode(t); code != 0 || !strings.HasPrefix(p.Out.String(), "cloudflared version ") {
				t.Errorf("%v: exit code %d: %s", args, code, p.Out)
			}
		}
	})
}

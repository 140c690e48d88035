//go:build dropin

package dropin_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// diag runs `tunnel diag` in a directory of its own, with stand-ins for the programs that it calls, and gives its exit code, its output
// and the files of the bundle.
func (s subject) diag(t *testing.T, args ...string) (code int, output string, files map[string]string) {
	t.Helper()
	dir, programs := t.TempDir(), t.TempDir()
	for _, name := range []string{"traceroute", "traceroute6", "docker", "kubectl"} {
		script := "#!/bin/sh\necho \"" + name + " $*\"\necho ' 1  gw (192.0.2.1)  0.5 ms  0.6 ms  0.7 ms'\n"
		if err := os.WriteFile(filepath.Join(programs, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.path, append([]string{"tunnel", "diag"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TMPDIR="+t.TempDir(), "PATH="+programs+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%s: %v", s.path, err)
	}
	files = map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "cloudflared-diag-*.zip"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		z, err := zip.OpenReader(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[f.Name] = string(b)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), string(out), files
}

// examiners are the programs whose diag command examines a connector: ours, and stock's as well when there is one.
func examiners(t *testing.T) []subject {
	t.Helper()
	all := []subject{{name: "culvert", path: harness.Binary(t, "culvert")}}
	if path := os.Getenv(harness.PeerVariable); path != "" {
		all = append(all, subject{name: "cloudflared", path: path, stock: true})
	}
	return all
}

// taskResults is the content of task-result.json.
func taskResults(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	var report map[string]struct{ Result, Error string }
	if err := json.Unmarshal([]byte(files["task-result.json"]), &report); err != nil {
		t.Fatalf("task-result.json: %v\n%s", err, files["task-result.json"])
	}
	out := map[string]string{}
	for name, r := range report {
		out[name] = r.Result
	}
	return out
}

// TestDiag: each program examines each connector, and the bundle has the same files.
func TestDiag(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--no-prechecks")
		for _, by := range examiners(t) {
			t.Run("by "+by.name, func(t *testing.T) {
				code, out, files := by.diag(t, "--metrics", c.metrics, "--diag-container-id", "c1")
				if code != 0 || !strings.Contains(out, "INF Diagnostic completed\n") && !strings.Contains(out, "WRN Diagnostic completed with one") {
					t.Errorf("exit code %d\n%s", code, out)
				}
				want := []string{
					"cli-configuration.json", "cloudflared_logs.txt", "configuration.json", "goroutine.pprof", "heap.pprof", "metrics.txt",
					"network.json", "prechecks.json", "raw-network.txt", "systeminformation.json", "task-result.json", "tunnelstate.json",
				}
				if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
					t.Errorf("files (-want +got):\n%s\n%s", diff, out)
				}
				results := map[string]string{}
				for _, name := range []string{
					"tunnel state", "system information", "goroutine profile", "heap profile", "metrics", "log information",
					"raw network information", "network information", "cli configuration", "configuration", "connectivity pre-checks",
				} {
					results[name] = "success"
				}
				if diff := cmp.Diff(results, taskResults(t, files)); diff != "" {
					t.Errorf("jobs (-want +got):\n%s\n%s", diff, files["task-result.json"])
				}
				var state struct {
					Connections []any `json:"connections"`
				}
				if err := json.Unmarshal([]byte(files["tunnelstate.json"]), &state); err != nil || len(state.Connections) != connections {
					t.Errorf("tunnelstate.json: %v\n%s", err, files["tunnelstate.json"])
				}
				if !strings.HasPrefix(files["cloudflared_logs.txt"], "docker logs --tail 10000 --since ") {
					t.Errorf("logs %q", files["cloudflared_logs.txt"])
				}
				target := either(t, by, fmt.Sprintf("127.0.0.1:%d", e.Ports[0]), "region1.v2.argotunnel.com",
					"the checks of the bundle are for the edge of the connector")
				if !strings.Contains(files["prechecks.json"], `"Target": "`+target+`"`) || !strings.Contains(files["prechecks.json"], `"ProbeStatus": `) {
					t.Errorf("prechecks.json has no target %s:\n%s", target, files["prechecks.json"])
				}
				if host, _, _ := strings.Cut(target, ":"); !strings.Contains(files["raw-network.txt"], host+"-v4\ntraceroute -I -w 5 -m 5 "+host+"\n") ||
					!strings.Contains(files["network.json"], `"domain": "gw (192.0.2.1)"`) {
					t.Errorf("routes:\n%s\n%s", files["raw-network.txt"], files["network.json"])
				}
			})
		}
	})
}

// TestDiagToggles: each switch leaves its files out.
func TestDiagToggles(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--no-prechecks")
		_, out, files := s.diag(t, "--metrics", c.metrics, "--no-diag-logs", "--no-diag-metrics", "--no-diag-system", "--no-diag-runtime",
			"--no-diag-network")
		want := []string{"cli-configuration.json", "configuration.json", "task-result.json", "tunnelstate.json"}
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" || !strings.Contains(out, "INF Diagnostic completed\n") {
			t.Errorf("files (-want +got):\n%s\n%s", diff, out)
		}
	})
}

// TestDiagLogfile: the file that the connector logs to is in the bundle.
func TestDiagLogfile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the difference is about connectors that root started")
	}
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--grace-period", "1s", "--no-prechecks", "--logfile", filepath.Join(t.TempDir(), "c.log"))
		_, out, files := s.diag(t, "--metrics", c.metrics, "--no-diag-network")
		want := either(t, s, true, false, "the log file of a connector that root started is not missed for the service's log")
		if strings.Contains(files["cloudflared_logs.txt"], "Registered tunnel connection") != want {
			t.Errorf("logs in the bundle, want %v\n%s", want, out)
		}
	})
}

// TestDiagSecrets: a bundle is made to be sent to others.
func TestDiagSecrets(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.start(t, e, "--grace-period", "1s", "--no-prechecks", "--url", "http://bob:hunter2hunter2@127.0.0.1:1")
		c.Line(t, "Registered tunnel connection")
		for _, by := range examiners(t) {
			_, out, files := by.diag(t, "--metrics", c.metrics, "--no-diag-network", "--no-diag-logs")
			var holds []string
			for name, text := range files {
				if strings.Contains(text, "hunter2") || strings.Contains(text, e.Token) {
					holds = append(holds, name)
				}
			}
			slices.Sort(holds)
			want := either(t, by, nil, []string{"cli-configuration.json"}, "no password is in a file that is made to be sent to others")
			if !s.stock { // ours does not tell it to begin with
				want = nil
			}
			if len(files) == 0 || !slices.Equal(holds, want) {
				t.Errorf("by %s: the secret is in %v, want %v\n%s", by.name, holds, want, out)
			}
		}
	})
}

// TestDiagOfNothing: the exit code is 0 although nothing responds.
func TestDiagOfNothing(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		code, out, files := s.diag(t, "--metrics", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), "--no-diag-network")
		if code != 0 || !strings.Contains(out, "WRN Diagnostic completed with one or more errors") {
			t.Errorf("exit code %d\n%s", code, out)
		}
		for name, result := range taskResults(t, files) {
			if result != "failure" {
				t.Errorf("job %s: %s", name, result)
			}
		}
	})
}

// TestDiagOfSeveral: two connectors on the known ports are listed, and none is examined.
func TestDiagOfSeveral(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		var addresses []string
		for range 2 {
			p := s.run(t, []string{"TUNNEL_TOKEN=" + e.Token}, "tunnel", "--no-autoupdate", "--grace-period", "1s", "--no-prechecks", "--cacert",
				filepath.Join(e.Data, "ca.pem"), "--edge", fmt.Sprintf("127.0.0.1:%d", e.Ports[0]), "--ha-connections", "1", "--hello-world", "run")
			address, _, _ := strings.Cut(p.Line(t, "Starting metrics server on "), "/metrics")
			testkit.Eventually(t, "a metrics listener", func() bool {
				resp, err := http.Get("http://" + address + "/healthcheck") //nolint:noctx // the test bounds it
				if err != nil {
					return false
				}
				return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
			})
			_, port, _ := strings.Cut(address, ":")
			if !strings.HasPrefix(port, "2024") {
				t.Skipf("port %s: other connectors of this machine have the known ones", port)
			}
			addresses = append(addresses, ":"+port)
		}
		for _, by := range examiners(t) {
			code, out, files := by.diag(t)
			if code != 0 || len(files) != 0 || !strings.Contains(out, "INF Found multiple instances running:\n") ||
				!strings.Contains(out, "INF To select one instance use the option --metrics\n") {
				t.Errorf("by %s: exit code %d, files %v\n%s", by.name, code, files, out)
			}
			for _, a := range addresses {
				if !strings.Contains(out, a+"\n") || !strings.Contains(out, "INF Instance: tunnel-id=") {
					t.Errorf("by %s: %s is not listed\n%s", by.name, a, out)
				}
			}
		}
	})
}

package diag_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/diag"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

const (
	secret   = "hunter2"
	tunnelID = "0eebc739-e3d0-45d6-8329-28839856319d"
	state    = `{"tunnelID":"` + tunnelID + `","connectorID":"f46aacfc-076d-4201-ab9a-ead6a61d8d91","connections":[` +
		`{"isConnected":true,"protocol":1,"edgeAddress":"127.0.0.1"}],"icmp_sources":["0.0.0.0"]}`
)

// responses are those of a stock connector with a secret in every place where one can be.
func responses(logfile string) map[string]string {
	return map[string]string{
		"/diag/tunnel":           state + "\n",
		"/diag/configuration":    `{"uid":"0","logfile":"` + logfile + `","url":"http://bob:hunter2@h","edge":"[127.0.0.1:1]","cacert":"ca.pem"}`,
		"/diag/system":           `{"info":{"memoryMaximum":1,"hostName":"h"},"errors":{}}`,
		"/debug/pprof/goroutine": "\x1f\x8bgoroutine",
		"/debug/pprof/heap":      "\x1f\x8bheap",
		"/metrics":               "a_total{url=\"http://bob:hunter2@h\",code=\"200\"} 1\n",
		"/config":                `{"version":-1,"config":{"ingress":[{"service":"http://bob:hunter2@h"}]}}`,
	}
}

// serve runs a metrics listener with the given responses.
func serve(t *testing.T, responses map[string]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := responses[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, body) // the client may be gone
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// program puts a shell script into PATH, before all others.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func options(t *testing.T, address string) diag.Options {
	t.Helper()
	return diag.Options{
		Address: address, Dir: t.TempDir(), Secrets: []string{"a-known-secret"},
		Checks: func(_ context.Context, flags map[string]string) ([]byte, error) {
			return json.Marshal(map[string]string{"RunID": "id", "edge": flags["edge"]})
		},
	}
}

// unzip gives the files of a bundle, and checks that it is alone and for its owner only.
func unzip(t *testing.T, o diag.Options, r diag.Result) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(o.Dir)
	if err != nil || len(entries) != 1 || filepath.Join(o.Dir, entries[0].Name()) != r.Bundle {
		t.Fatalf("the directory has %v, the bundle is %s: %v", entries, r.Bundle, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the bundle: %v, %v", info.Mode(), err)
	}
	z, err := zip.OpenReader(r.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string]string{}
	for _, f := range z.File {
		content, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		if err = errors.Join(err, content.Close()); err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(b)
	}
	return files
}

// result is one entry of task-result.json.
type result struct{ Result, Error string }

func report(t *testing.T, files map[string]string) map[string]result {
	t.Helper()
	var jobs map[string]result
	if err := json.Unmarshal([]byte(files["task-result.json"]), &jobs); err != nil {
		t.Fatalf("task-result.json: %v\n%s", err, files["task-result.json"])
	}
	return jobs
}

func logFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.log")
	text := `{"level":"debug","headers":{"Authorization":["Bearer hunter2"]},"message":"GET /?token=hunter2"}` + "\nlast a-known-secret\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBundle(t *testing.T) {
	program(t, "traceroute", `echo "traceroute $*"; echo " 1  gw (192.0.2.1)  0.5 ms * 0.6 ms"`)
	o := options(t, serve(t, responses(logFile(t))))
	r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil || r.Failed != nil {
		t.Fatalf("Run: %v, %v", err, r.Failed)
	}
	files := unzip(t, o, r)
	want := []string{
		"cli-configuration.json", "cloudflared_logs.txt", "configuration.json", "goroutine.pprof", "heap.pprof", "metrics.txt", "network.json",
		"prechecks.json", "raw-network.txt", "systeminformation.json", "task-result.json", "tunnelstate.json",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	jobs := report(t, files)
	for _, name := range []string{
		"tunnel state", "system information", "goroutine profile", "heap profile", "metrics", "log information", "raw network information",
		"network information", "cli configuration", "configuration", "connectivity pre-checks",
	} {
		if jobs[name] != (result{Result: "success"}) {
			t.Errorf("job %s: %+v", name, jobs[name])
		}
	}
	if len(jobs) != 11 {
		t.Errorf("%d jobs: %v", len(jobs), jobs)
	}
	for name, content := range files {
		if strings.Contains(content, secret) || strings.Contains(content, "a-known-secret") {
			t.Errorf("%s holds a secret:\n%s", name, content)
		}
	}
	for name, text := range map[string]string{
		"tunnelstate.json": tunnelID, "cli-configuration.json": `"uid": "0"`, "configuration.json": `"service": "http://bob:***@h"`,
		"metrics.txt": `code="200"`, "cloudflared_logs.txt": "last ***\n", "heap.pprof": "\x1f\x8bheap", "goroutine.pprof": "\x1f\x8bgoroutine",
		"raw-network.txt": "127.0.0.1-v4\ntraceroute -I -w 5 -m 5 127.0.0.1\n 1  gw", "prechecks.json": `"edge": "[127.0.0.1:1]"`,
		"network.json": `"domain": "gw (192.0.2.1)"`, "systeminformation.json": `"hostName": "h"`,
	} {
		if !strings.Contains(files[name], text) {
			t.Errorf("%s has no %q:\n%s", name, text, files[name])
		}
	}
}

// TestEachJobFailsAlone: the connector responds to nothing but one path, and there is no program.
func TestEachJobFailsAlone(t *testing.T) {
	t.Setenv("PATH", "")
	o := options(t, serve(t, map[string]string{"/metrics": "x 1\n", "/config": "no JSON", "/diag/tunnel": ""}))
	o.Checks = func(context.Context, map[string]string) ([]byte, error) {
		return nil, errors.New("no roots of http://bob:hunter2@h")
	}
	r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil || r.Failed == nil {
		t.Fatalf("Run: %v, %v", err, r.Failed)
	}
	files := unzip(t, o, r)
	want := []string{"metrics.txt", "network.json", "raw-network.txt", "task-result.json"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"metrics": "", "tunnel state": "EOF", "system information": "404", "heap profile": "404", "configuration": "is not JSON",
		"log information": "404", "raw network information": "traceroute is not installed", "connectivity pre-checks": "http://bob:***@h",
	} {
		got := report(t, files)[name]
		if (got.Result == "success") != (text == "") || !strings.Contains(got.Error, text) {
			t.Errorf("job %s: %+v, want an error with %q", name, got, text)
		}
	}
}

func TestToggles(t *testing.T) {
	o := options(t, serve(t, responses("")))
	o.NoLogs, o.NoMetrics, o.NoSystem, o.NoRuntime, o.NoNetwork = true, true, true, true, true
	r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil || r.Failed != nil {
		t.Fatalf("Run: %v, %v", err, r.Failed)
	}
	files := unzip(t, o, r)
	want := []string{"cli-configuration.json", "configuration.json", "task-result.json", "tunnelstate.json"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if jobs := report(t, files); len(jobs) != 3 {
		t.Errorf("jobs %v", jobs)
	}
}

// TestContainers reads logs from stand-ins for docker and kubectl, which write more to their error output than a pipe holds.
func TestContainers(t *testing.T) {
	const script = `echo "%s $*"; i=0; while [ $i -lt 3000 ]; do
	echo "password=hunter2 line $i of the error output ..............." >&2; i=$((i+1)); done`
	program(t, "docker", fmt.Sprintf(script, "docker"))
	program(t, "kubectl", fmt.Sprintf(script, "kubectl"))
	for name, tc := range map[string]struct{ container, pod, begin, end string }{
		"docker":  {"c1", "", "docker logs --tail 10000 --since 20", " c1\n"},
		"kubectl": {"c1", "p1", "kubectl logs p1 --since-time 20", " --tail 10000 -c c1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, serve(t, responses("/no/such/file")))
			o.NoNetwork, o.Container, o.Pod = true, tc.container, tc.pod
			r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
			if err != nil || r.Failed != nil {
				t.Fatalf("Run: %v, %v", err, r.Failed)
			}
			logs := unzip(t, o, r)["cloudflared_logs.txt"]
			first, rest, _ := strings.Cut(logs, "\n")
			if !strings.HasPrefix(first, tc.begin) || !strings.HasSuffix(first+"\n", tc.end) {
				t.Errorf("command %q, want it to begin with %q and to end with %q", first, tc.begin, tc.end)
			}
			if strings.Count(rest, "\n") != 3000 || strings.Contains(rest, secret) || !strings.Contains(rest, "line 2999 of") {
				t.Errorf("%d lines of error output, secret %v", strings.Count(rest, "\n"), strings.Contains(rest, secret))
			}
		})
	}
}

// TestFailingProgram: what it printed is kept beside the error.
func TestFailingProgram(t *testing.T) {
	program(t, "docker", `echo "No such container: c1" >&2; exit 3`)
	o := options(t, serve(t, responses("")))
	o.NoNetwork, o.Container = true, "c1"
	r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	files := unzip(t, o, r)
	if got := report(t, files)["log information"]; got.Result != "failure" || !strings.Contains(got.Error, "exit status 3") ||
		files["cloudflared_logs.txt"] != "No such container: c1\n" {
		t.Errorf("job %+v, logs %q", got, files["cloudflared_logs.txt"])
	}
}

func TestNoLogs(t *testing.T) {
	t.Setenv("PATH", "")
	all := responses("")
	all["/diag/configuration"] = `{"uid":"4711"}`
	o := options(t, serve(t, all))
	o.NoNetwork = true
	r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/etc/systemd/system/cloudflared.service"); err == nil {
		t.Skip("this host has the service")
	}
	if !errors.Is(r.Failed, diag.ErrNoLogs) {
		t.Errorf("Failed = %v, want ErrNoLogs", r.Failed)
	}
}

func TestNoBundle(t *testing.T) {
	o := options(t, "127.0.0.1:1")
	o.Dir = filepath.Join(o.Dir, "none")
	if _, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil || !strings.HasPrefix(err.Error(), "diagnostic file: ") {
		t.Errorf("a directory that does not exist: %v", err)
	}
	for _, address := range []string{"", "http://", "::x"} {
		o := options(t, address)
		if _, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("address %q is no error", address)
		}
	}
}

// TestTwoBundlesInOneSecond: neither replaces the other.
func TestTwoBundlesInOneSecond(t *testing.T) {
	o := options(t, serve(t, responses("")))
	o.NoNetwork, o.NoLogs = true, true
	names := map[string]bool{}
	for range 3 {
		r, err := diag.Run(t.Context(), o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		names[r.Bundle] = true
	}
	if len(names) != 3 {
		t.Errorf("bundles %v", names)
	}
}

func TestFind(t *testing.T) {
	one, two := serve(t, responses("")), serve(t, responses(""))
	other := serve(t, map[string]string{"/diag/tunnel": `{"status":"ok"}`}) // a service of another kind
	dead := testkit.FreeTCP(t).String()
	found := diag.Find(t.Context(), []string{dead, one, other, two, "::x"})
	want := []diag.Instance{
		{URL: "http://" + one, TunnelID: tunnelID, ConnectorID: "f46aacfc-076d-4201-ab9a-ead6a61d8d91"},
		{URL: "http://" + two, TunnelID: tunnelID, ConnectorID: "f46aacfc-076d-4201-ab9a-ead6a61d8d91"},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("Find (-want +got):\n%s", diff)
	}
}

// TestOpenListener: a listener on all addresses is asked on the loopback.
func TestOpenListener(t *testing.T) {
	_, port, _ := strings.Cut(serve(t, responses("")), ":")
	for _, address := range []string{"0.0.0.0:" + port, ":" + port, "http://127.0.0.1:" + port + "/"} {
		if found := diag.Find(t.Context(), []string{address}); len(found) != 1 {
			t.Errorf("%s: %v", address, found)
		}
	}
}

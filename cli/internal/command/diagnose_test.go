package command_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// bundle gives the files of the only zip file in dir; compressed profiles are unpacked.
func bundle(t *testing.T, dir string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "cloudflared-diag-*.zip"))
	if err != nil || len(names) != 1 {
		t.Fatalf("bundles %v, %v", names, err)
	}
	z, err := zip.OpenReader(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if packed, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			if b, err = io.ReadAll(packed); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
		}
		files[f.Name] = string(b)
	}
	return files
}

// TestDiagHoldsNoSecret plants secrets in the arguments, the environment, the credentials, the rules, requests and the log of a
// connector, and looks for them in everything that the bundle has.
func TestDiagHoldsNoSecret(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	e, metrics := startEdge(t), testkit.FreeTCP(t).String()
	creds, _ := e.BootstrapCredentials()
	secrets := []string{e.token, base64.StdEncoding.EncodeToString(creds.Secret), string(creds.Secret)}
	logfile := filepath.Join(t.TempDir(), "c.log")
	rules := filepath.Join(t.TempDir(), "run.yml")
	writeFile(t, rules, "ingress:\n- hostname: a.example.com\n  service: http://user:"+planted+"@127.0.0.1:1\n- service: hello_world\n")
	env := []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_API_KEY=" + planted, "TUNNEL_CRED_CONTENTS=" + string(credential.File(creds))}
	p := start(t, env, append(e.flags(), "--metrics", metrics, "--loglevel", "debug", "--logfile", logfile, "--config", rules,
		"--no-prechecks", "run", "--token", e.token)...)
	c := client(t)
	testkit.Eventually(t, "ready", func() bool {
		status, _ := fetch(t, c, "http://"+metrics+"/ready", "")
		return status == http.StatusOK
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.PublicURL()+"/?access_token="+planted, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+planted)
	req.Header.Set("Cookie", "session="+planted)
	req.Header.Set("X-Api-Key", planted)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // only its request counts
	// What a program without masks writes at debug level, cloudflared for one.
	text := readFile(t, logfile) + `{"level":"debug","headers":{"Authorization":["Bearer ` + planted + `"],"Cookie":["a=` + planted + `"]},` +
		`"message":"GET http://127.0.0.1/?token=` + planted + ` HTTP/1.1"}` + "\n" + "started with --token " + e.token + " " +
		string(credential.File(creds)) + "\nTunnelSecret: " + secrets[1] + "\n-----BEGIN PRIVATE KEY-----\n" + planted +
		"\n-----END PRIVATE KEY-----\nthe last line\n"
	writeFile(t, logfile, text)
	for i, env := range [][]string{nil, env} {
		out := filepath.Join(dir, string(rune('a'+i)))
		if err := os.Mkdir(out, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Chdir(out)
		code, stdout, stderr := run(t, env, "tunnel", "--metrics", metrics, "--loglevel", "debug", "diag")
		if code != 0 || stdout != "" || !strings.Contains(stderr, "INF Diagnostic file written: cloudflared-diag-") {
			t.Errorf("diag: exit %d, %q\n%s", code, stdout, stderr)
		}
		checkShown(t, "the output of diag", stderr, secrets...)
		files := bundle(t, out)
		for name, content := range files {
			checkShown(t, name, content, secrets...)
		}
		for _, name := range []string{
			"tunnelstate.json", "metrics.txt", "configuration.json", "cli-configuration.json", "cloudflared_logs.txt", "goroutine.pprof",
			"heap.pprof", "prechecks.json", "task-result.json",
		} {
			if files[name] == "" {
				t.Errorf("the bundle has no %s: %v", name, files["task-result.json"])
			}
		}
		if !strings.Contains(files["cloudflared_logs.txt"], "the last line\n") ||
			!strings.Contains(files["configuration.json"], "http://user:***@127.0.0.1:1") {
			t.Errorf("logs and rules are not those of the connector:\n%.500s\n%s", files["cloudflared_logs.txt"], files["configuration.json"])
		}
		var checks struct{ Results []struct{ ProbeStatus int } }
		if err := json.Unmarshal([]byte(files["prechecks.json"]), &checks); err != nil || len(checks.Results) != 3*len(e.ConnectorAddrs()) {
			t.Errorf("prechecks.json: %v\n%s", err, files["prechecks.json"])
		}
		for _, r := range checks.Results {
			if r.ProbeStatus != 0 {
				t.Errorf("a check failed: %s", files["prechecks.json"])
				break
			}
		}
	}
	p.stop(t)
}

// TestDiagWithoutBundle: the command fails when it leaves nothing, and only then.
func TestDiagWithoutBundle(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := run(t, nil, "tunnel", "diag", "--metrics", "127.0.0.1:1")
	if code != 1 || !strings.Contains(stderr, "diagnostic file: ") {
		t.Errorf("in a directory that is gone: exit %d, %s", code, stderr)
	}
	t.Chdir(t.TempDir())
	code, _, stderr = run(t, nil, "tunnel", "diag", "--metrics", testkit.FreeTCP(t).String(), "--no-diag-network")
	if code != 0 || !strings.Contains(stderr, "WRN Diagnostic completed with one or more errors") {
		t.Errorf("no connector there: exit %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"tunnel", "diag", "--no-diag-nothing"}, {"tunnel", "diag", "--metrics", "http://"}} {
		if code, _, stderr := run(t, nil, args...); code != 1 || strings.Count(stderr, "\n") == 0 {
			t.Errorf("%v: exit %d, %q", args, code, stderr)
		}
	}
}

// TestCheck: the exit code says whether a tunnel can be expected.
func TestCheck(t *testing.T) {
	e := startEdge(t)
	flags := slices.Replace(e.flags(), 0, 1, "check")
	code, stdout, stderr := run(t, nil, flags...)
	if code != 0 || stderr != "" || strings.Count(stdout, " PASS ") != 3*len(e.ConnectorAddrs()) ||
		!strings.Contains(stdout, "SUMMARY: Environment is healthy. cloudflared will use 'quic' as primary protocol.") {
		t.Errorf("check: exit %d, %s\n%s", code, stderr, stdout)
	}
	code, stdout, stderr = run(t, []string{"TUNNEL_TRANSPORT_PROTOCOL=http2"}, append(flags, "--output", "json")...)
	var report struct {
		HardFail  bool   `json:"hard_fail"`
		Suggested string `json:"suggested_protocol"`
		Results   []any  `json:"results"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 || stderr != "" || report.HardFail ||
		report.Suggested != "http2" || len(report.Results) != 3*len(e.ConnectorAddrs()) {
		t.Errorf("check --output json: exit %d, %v, %s\n%s", code, err, stderr, stdout)
	}
	code, stdout, stderr = run(t, nil, "check", "--edge", "edge.invalid", "--output", "json")
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 1 || stderr != "" || !report.HardFail {
		t.Errorf("check of a name that is no address: exit %d, %v, %s\n%s", code, err, stderr, stdout)
	}
	for _, args := range [][]string{{"check", "x"}, {"check", "--edge-ip-version", "5"}, {"check", "--cacert", "/no/such/file"}} {
		if code, stdout, stderr := run(t, nil, args...); code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// TestPrechecksAtTheStart: a connector logs the checks beside its connections, and --no-prechecks switches them off.
func TestPrechecksAtTheStart(t *testing.T) {
	e := startEdge(t)
	for _, off := range []bool{false, true} {
		metrics := testkit.FreeTCP(t).String()
		args := append(e.flags(), "--metrics", metrics, "--hello-world")
		if off {
			args = append(args, "--no-prechecks")
		}
		p := start(t, []string{"TUNNEL_TOKEN=" + e.token}, append(args, "run")...)
		if off {
			c := client(t)
			testkit.Eventually(t, "ready", func() bool {
				status, _ := fetch(t, c, "http://"+metrics+"/ready", "")
				return status == http.StatusOK
			})
		} else {
			testkit.Eventually(t, "checks are complete", func() bool { return len(p.linesWith("precheck complete")) == 1 })
		}
		p.stop(t)
		want := 3 * len(e.ConnectorAddrs())
		if off {
			want = 0
		}
		if n := len(p.linesWith("INF precheck component=")); n != want {
			t.Errorf("--no-prechecks %v: %d lines about checks, want %d\n%s", off, n, want, p.log())
		}
		if n := len(p.linesWith("CONNECTIVITY PRE-CHECKS")); n != min(want, 1) {
			t.Errorf("--no-prechecks %v: %d tables", off, n)
		}
	}
}

//go:build dropin

package dropin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// lineForm is a line of the console: time, level and the rest.
var lineForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DBG|INF|WRN|ERR) (.*)$`)

// wantLines fails for each pattern that no line of the console has.
func wantLines(t *testing.T, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + p + `$`).MatchString(out) {
			t.Errorf("no line %q in\n%s", p, harness.Tail(out, 6000))
		}
	}
}

// TestConsoleLines: scripts and log collectors wait for the lines of the start, of each connection and of the end.
func TestConsoleLines(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			e := harness.StartEdge(t)
			each(t, func(t *testing.T, s subject) {
				c := s.connect(t, e, "--protocol", protocol, "--grace-period", "2s", "--no-prechecks")
				if code := c.Stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d after SIGTERM", code)
				}
				out := c.Out.String()
				const uuid = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
				wantLines(t, out,
					`INF Starting tunnel tunnelID=`+uuid,
					`INF Version \S+ \(Checksum [0-9a-f]{64}\)`,
					`INF GOOS: linux, GOVersion: go\S+, GoArch: \w+`,
					`INF Settings: map\[cacert:\S+ edge:\[[0-9.: ]+\] grace-period:2s hello-world:true metrics:\S+ no-autoupdate:true `+
						`no-prechecks:true p:`+protocol+` protocol:`+protocol+`\]`,
					`INF Generated Connector ID: `+uuid,
					`INF Initial protocol `+protocol,
					`INF Starting metrics server on `+regexp.QuoteMeta(c.metrics)+`/metrics`,
					`INF Starting Hello World server at \S+`,
					`INF ICMP proxy will use \S+ as source for IPv4`,
					`INF Initiating graceful shutdown due to signal terminated \.\.\.`,
					`INF Metrics server stopped`, `INF Tunnel server stopped`)
				for i := range connections {
					wantLines(t, out,
						fmt.Sprintf(`INF Tunnel connection curve preferences: \[X25519MLKEM768 .*CurveP256\] connIndex=%d event=0 ip=127\.0\.0\.1`, i),
						fmt.Sprintf(`INF Registered tunnel connection connIndex=%d connection=%s event=0 ip=127\.0\.0\.1 location=local protocol=%s`,
							i, uuid, protocol),
						fmt.Sprintf(`INF Unregistered tunnel connection connIndex=%d event=0 ip=127\.0\.0\.1`, i))
				}
				for line := range strings.Lines(out) {
					if !lineForm.MatchString(strings.TrimSuffix(line, "\n")) {
						t.Errorf("a line of another form: %q", line)
					}
				}
				if strings.Contains(out, e.Token) {
					t.Error("the token is in the log")
				}
			})
		})
	}
}

// TestLostConnectionLines: alerts count the lines of lost connections.
func TestLostConnectionLines(t *testing.T) {
	each(t, func(t *testing.T, s subject) {
		e := harness.StartEdge(t)
		c := s.connect(t, e, "--protocol", "http2", "--grace-period", "1s", "--no-prechecks")
		e.Stop(t, syscall.SIGKILL)
		testkit.Eventually(t, "lines about the loss", func() bool {
			return strings.Count(c.Out.String(), "Connection terminated") >= connections
		})
		out := c.Out.String()
		for i := range connections {
			// Which of its goroutines notices the end first is a race in stock, and the line names that one.
			other := fmt.Sprintf(`error="Error shutting down control stream: context canceled" connIndex=%d`, i)
			if s.stock && strings.Contains(out, "Serve tunnel error "+other) {
				wantLines(t, out, `ERR Connection terminated `+other)
				continue
			}
			wantLines(t, out,
				fmt.Sprintf(`INF Lost connection with the edge connIndex=%d`, i),
				fmt.Sprintf(`(WRN|ERR) Serve tunnel error error="connection with edge closed" connIndex=%d event=0 ip=127\.0\.0\.1`, i),
				fmt.Sprintf(`INF Retrying connection in up to \w+ connIndex=%d event=0 ip=127\.0\.0\.1`, i),
				fmt.Sprintf(`(WRN|ERR) Connection terminated error="connection with edge closed" connIndex=%d`, i))
		}
		c.Stop(t, syscall.SIGKILL)
	})
}

// TestJSONLines: --output json and --logfile have one flat object per line.
func TestJSONLines(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		file := filepath.Join(t.TempDir(), "sub", "log.json")
		c := s.connect(t, e, "--output", "json", "--logfile", file, "--grace-period", "1s", "--no-prechecks")
		c.Stop(t, syscall.SIGTERM)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Dir(file))
		if err != nil || info.Mode().Perm() != 0o744 {
			t.Errorf("directory of the log file: %v, %v", info.Mode(), err)
		}
		for name, text := range map[string]string{"console": c.Out.String(), "file": string(raw)} {
			registered := 0
			for line := range strings.Lines(text) {
				if !strings.HasSuffix(line, "\n") {
					continue // stock ends in the middle of its last line now and then
				}
				var all map[string]any
				if err := json.Unmarshal([]byte(line), &all); err != nil {
					t.Fatalf("%s: %q: %v", name, line, err)
				}
				if all["level"] == nil || all["time"] == nil {
					t.Errorf("%s: %q lacks a level or a time", name, line)
				}
				if all["message"] == "Registered tunnel connection" {
					registered++
					if all["event"] != 0.0 || all["connIndex"] == nil || all["connection"] == nil || all["ip"] != "127.0.0.1" ||
						all["location"] != "local" || all["protocol"] != "quic" || len(all) != 9 {
						t.Errorf("%s: %s", name, line)
					}
				}
			}
			if registered != connections {
				t.Errorf("%s: %d registered connections", name, registered)
			}
		}
		if !strings.HasPrefix(string(raw), `{"level":"info","tunnelID":"`) {
			t.Errorf("the file begins with %.80s", raw)
		}
	})
}

// TestLogDirectory: the file in a directory has a fixed name.
func TestLogDirectory(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		dir := filepath.Join(t.TempDir(), "logs")
		c := s.connect(t, e, "--log-directory", dir, "--grace-period", "1s", "--no-prechecks")
		c.Stop(t, syscall.SIGTERM)
		raw, err := os.ReadFile(filepath.Join(dir, "cloudflared.log"))
		if err != nil || strings.Count(string(raw), "Registered tunnel connection") != connections {
			t.Errorf("%v:\n%s", err, raw)
		}
	})
}

// TestOddLogFlags: flags about logs that make no sense never stop a start.
func TestOddLogFlags(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		dir := t.TempDir()
		c := s.connect(t, e, "--loglevel", "loud", "--output", "xml", "--logfile", filepath.Join(dir, "a"), "--log-directory", dir,
			"--grace-period", "1s", "--no-prechecks")
		wantLines(t, c.Out.String(), `ERR Failed to parse log level "loud", using "info" instead`,
			`ERR Your config includes values for both logfile \(.*\) and log-directory \(.*\), but they are incompatible\. `+
				`logfile takes precedence\.`)
		c.Stop(t, syscall.SIGTERM)

		c = s.connect(t, e, "--logfile", "/dev/null/x/log", "--grace-period", "1s", "--no-prechecks")
		text := either(t, s, "WRN log file cannot be written", "Falling back to a default logger",
			"a log file that cannot be written leaves the form of the console as it is")
		if !strings.Contains(c.Out.String(), text) {
			t.Errorf("no %q in\n%s", text, harness.Tail(c.Out.String(), 3000))
		}
		c.Stop(t, syscall.SIGTERM)
	})
}

// TestFatalLevel: --loglevel fatal is silent.
func TestFatalLevel(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--loglevel", "fatal", "--grace-period", "1s", "--no-prechecks")
		c.Stop(t, syscall.SIGTERM)
		if out := c.Out.String(); out != "" {
			t.Errorf("lines:\n%s", out)
		}
	})
}

// visit requests a path of the public address, with a password.
func visit(t *testing.T, e *harness.Edge, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("secret", "secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body) // a visitor who hangs up early leads to other lines
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s, %v", path, resp.Status, err)
	}
}

// TestRequestLines: at debug level each request and response is a line; what proves who the visitor is stands in none of ours.
func TestRequestLines(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		c := s.connect(t, e, "--loglevel", "debug", "--protocol", "quic", "--grace-period", "1s", "--no-prechecks")
		visit(t, e, "/some/path")
		testkit.Eventually(t, "lines about the request", func() bool {
			return slices.ContainsFunc(strings.Split(c.Out.String(), "\n"), regexp.MustCompile(` DBG 200 OK .*event=1`).MatchString)
		})
		wantLines(t, c.Out.String(),
			`DBG GET http\S*/some/path HTTP/1\.1 .*connIndex=\d content-length=0 event=1 headers=\{.*\} host=\S+ ingressRule=0 `+
				`originService=\S+ path=/some/path`,
			`DBG 200 OK .*connIndex=\d content-length=\S+ event=1 ingressRule=0 originService=\S+`)
		shown := either(t, s, 0, 1, "a log at debug level does not show what proves who a visitor is")
		if n := strings.Count(c.Out.String(), "c2VjcmV0"); n != shown {
			t.Errorf("the password of the visitor is shown %d times, want %d", n, shown)
		}
		c.Stop(t, syscall.SIGTERM)
	})
}

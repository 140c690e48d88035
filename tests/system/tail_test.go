//go:build system

package system_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// tailed is a running `culvert tail --output json`.
type tailed struct{ *harness.Program }

// lines are those that were printed so far.
func (c tailed) lines(t *testing.T) []management.Line {
	t.Helper()
	text := c.Out.String()
	var all []management.Line
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		var l management.Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		all = append(all, l)
	}
	return all
}

// process is the part of a connector that a line came from.
func process(l management.Line) string {
	name, _, _ := strings.Cut(fmt.Sprint(l.Fields["process"]), "@")
	return name
}

func (d *deployment) tail(t *testing.T) tailed {
	t.Helper()
	return tailed{harness.Start(t, []string{"HOME=" + t.TempDir()}, harness.Binary(t, "culvert"), "tail",
		"--edge-admin", "unix:"+filepath.Join(d.edge.Data, "admin.sock"), "--output", "json", "peer")}
}

// TestTail: the client shows the lines of every request, through whichever proxy it went, and of every process of the connector.
func TestTail(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer origin.Close()
	for _, f := range []form{oneProcess, split, stock} {
		for _, protocol := range []string{"quic", "http2"} {
			t.Run(string(f)+"/"+protocol, func(t *testing.T) {
				if f == stock && os.Getenv(harness.PeerVariable) == "" {
					t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
				}
				d := deployConfig(t, f, protocol, "ingress:\n- service: "+origin.URL+"\n")
				c := d.tail(t)
				d.testTailOfRequests(t, c)
				if f == split {
					d.testTailOfProcesses(t, c)
				}
				if code := c.Stop(t, os.Interrupt); code != 0 {
					t.Errorf("exit code %d", code)
				}
			})
		}
	}
}

// testTailOfRequests sends requests one after another, and waits for the lines of each.
func (d *deployment) testTailOfRequests(t *testing.T, c tailed) {
	t.Helper()
	d.visitUntil(t, func(path string) bool { return d.hasRequest(t, c, path) })
	if d.form == split { // the other proxy learns of the stream through the store
		d.visitUntil(t, func(string) bool { return len(proxies(c.lines(t))) == 2 })
	}
	var took []time.Duration
	for i := range 20 {
		path := fmt.Sprintf("/tail-%d", i)
		began := time.Now()
		d.visit(t, path)
		testkit.Eventually(t, "the line about "+path, func() bool { return d.hasRequest(t, c, path) })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("%s: a request is shown after %v (median) to %v", d.name, took[len(took)/2].Round(time.Millisecond),
		took[len(took)-1].Round(time.Millisecond))
}

// proxies are the numbers of lines about requests by the process that they came from.
func proxies(all []management.Line) map[string]int {
	by := make(map[string]int)
	for _, l := range all {
		if l.Event != management.HTTP {
			continue
		}
		by[fmt.Sprint(l.Fields["process"])]++
	}
	return by
}

// hasRequest reports whether both lines of a request are there.
func (d *deployment) hasRequest(t *testing.T, c tailed, path string) bool {
	t.Helper()
	request, response := false, 0
	for _, l := range c.lines(t) {
		request = request || strings.Contains(l.Message, path+" HTTP/") // 1.1, or 2.0 from stock over HTTP/2
		if l.Message == "204 No Content" {
			response++
		}
	}
	return request && response > 0
}

// visitUntil sends requests with paths of their own until one of them is enough.
func (d *deployment) visitUntil(t *testing.T, enough func(path string) bool) {
	t.Helper()
	n := 0
	testkit.Eventually(t, "the log stream has begun", func() bool {
		n++
		path := fmt.Sprintf("/first-%d", n)
		d.visit(t, path)
		return enough(path)
	})
}

func (d *deployment) visit(t *testing.T, path string) {
	t.Helper()
	resp, err := http.Get(d.edge.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("%s: %s", path, resp.Status)
	}
}

// testTailOfProcesses stops a worker: the lines of that worker, of the one that takes its connections, and of the supervisor are shown.
// The worker may carry the stream itself, which it does until the client ends it.
func (d *deployment) testTailOfProcesses(t *testing.T, c tailed) {
	t.Helper()
	if err := d.procs["conn-worker"][0].Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Retry(t, "lines of the workers and the supervisor", patience, func() error {
		seen := make(map[string][]string)
		for _, l := range c.lines(t) {
			seen[process(l)] = append(seen[process(l)], l.Message)
		}
		switch {
		case !slices.Contains(seen["supervisor"], "slot granted"):
			return fmt.Errorf("no line of the supervisor in %v", seen)
		case !slices.Contains(seen["conn-worker"], "Registered tunnel connection"):
			return fmt.Errorf("no new connection in %v", seen)
		case !slices.Contains(seen["conn-worker"], "Unregistered tunnel connection"):
			return fmt.Errorf("no end of a connection in %v", seen)
		}
		return nil
	})
}

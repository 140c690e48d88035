package command_test

import (
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestTunnelRunReadsItsRulesAgain changes the rules of a running connector, at first to ones that cannot be used. The file has a
// document for another tunnel as well.
func TestTunnelRunReadsItsRulesAgain(t *testing.T) {
	e := startEdge(t)
	c, _ := e.BootstrapCredentials()
	path := filepath.Join(t.TempDir(), "config.yml")
	rules := func(status string) string {
		return "tunnel: 00000000-0000-0000-0000-000000000009\ningress: [{service: http_status:400}]\n---\ntunnel: " + c.TunnelID.String() +
			"\ningress: [{service: 'http_status:" + status + "'}]\n"
	}
	writeFile(t, path, rules("418"))
	p := start(t, []string{"TUNNEL_TOKEN=" + e.token}, append(e.flags(), "--metrics", "127.0.0.1:0", "--config", path, "run")...)
	web := client(t)
	responds := func(want int) {
		t.Helper()
		testkit.Eventually(t, "response with the status of the rules", func() bool {
			status, _ := fetch(t, web, e.PublicURL(), "a.example.com")
			return status == want
		})
	}
	responds(http.StatusTeapot)
	guard := make(chan os.Signal, 1) // keeps the test process alive if the program does not handle the signal
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	replace := func(text, line string) {
		t.Helper()
		writeFile(t, path, text)
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatalf("send SIGHUP: %v", err)
		}
		testkit.Eventually(t, line, func() bool { return len(p.linesWith(line)) == 1 })
	}
	replace(rules("42"), "changed file not used")
	responds(http.StatusTeapot)
	replace(rules("410"), "file read again")
	responds(http.StatusGone)
	if code := p.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

package command_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// startRedis runs a real server for the test; without the program the test is skipped.
func startRedis(t *testing.T, more ...string) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	_, port, err := net.SplitHostPort(testkit.FreeTCP(t).String())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()}, more...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it holds nothing that matters
		_ = cmd.Wait()
	})
	return "redis://127.0.0.1:" + port
}

// TestServicesApart runs every service from its own command line, with a real Redis, as split deployments do.
func TestServicesApart(t *testing.T) {
	e, dir := startEdge(t), t.TempDir()
	token, socket := filepath.Join(dir, "token"), "unix:"+filepath.Join(dir, "proxy.sock")
	if err := os.WriteFile(token, []byte(e.token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var edges []string
	for _, a := range e.ConnectorAddrs() {
		edges = append(edges, a.String())
	}
	env := []string{"CULVERT_REDIS_URL=" + startRedis(t), "GOMAXPROCS=2"}
	commands := [][]string{
		{"discovery", "--static", strings.Join(edges, ",")},
		{"supervisor"},
		{"proxy", "--listen", socket, "--origin.hello-world"},
		{"conn-worker", "--credentials.token-file", token, "--edge.cacert", e.CACertPath(), "--link.socket-dir", dir, "--grace-period", "5s"},
	}
	ops, c := map[string]string{}, client(t)
	var programs []*program
	for _, args := range commands {
		ops[args[0]] = testkit.FreeTCP(t).String()
		programs = append(programs, start(t, env, append(args, "--ops.listen", ops[args[0]])...))
		// One after the other: the flag library shares its help flag between all command lines of a process.
		testkit.Eventually(t, args[0]+" is alive", func() bool {
			status, _ := fetch(t, c, "http://"+ops[args[0]]+"/healthz", "")
			return status == http.StatusOK
		})
	}
	testkit.Eventually(t, "a response through all services", func() bool {
		status, _ := fetch(t, c, e.PublicURL(), "a.example.com")
		return status == http.StatusOK
	})
	for name, addr := range ops {
		testkit.Eventually(t, name+" is healthy", func() bool {
			code, _, _ := run(t, env, name, "healthcheck", "--ops.listen", addr)
			return code == 0
		})
		if code, stdout, stderr := run(t, env, name, "config"); code != 0 || !strings.Contains(stdout, "redis:") {
			t.Errorf("%s config = %d %s %s", name, code, stdout, stderr)
		}
	}
	for i := len(programs) - 1; i >= 0; i-- {
		if code := programs[i].stop(t); code != 0 {
			t.Errorf("%s: exit %d\n%s", commands[i][0], code, programs[i].log())
		}
	}
}

//go:build system

package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestOthersJoinOneProcess runs everything in one process on a shared Redis, adds a worker and a proxy as
// processes of their own, then stops the first process. The others, with a new supervisor, serve every request.
func TestOthersJoinOneProcess(t *testing.T) {
	redis := harness.Installed(t, "redis-server")
	dir := t.TempDir()
	url := "unix://" + filepath.Join(dir, "redis.sock")
	harness.Start(t, nil, redis, "--port", "0", "--unixsocket", filepath.Join(dir, "redis.sock"), "--save", "", "--dir", dir)
	e := harness.StartEdge(t)
	origin := echoOrigin(t)
	env := []string{"TUNNEL_TOKEN=" + e.Token, "CULVERT_REDIS_URL=" + url, "CULVERT_OPS_LISTEN=127.0.0.1:0"}
	one := harness.Start(t, env, harness.Binary(t, "culvert"), e.ConnectorCommand("quic", origin)...)
	byWorkers := func(want int) func() error {
		return func() error {
			list, err := e.Admin.ListConnections(t.Context())
			if err != nil {
				return err
			}
			held := map[string][]string{}
			n := 0
			for _, c := range list {
				if c.State == "active" {
					n++
					held[c.Version] = append(held[c.Version], c.RemoteAddr)
				}
			}
			if n != want {
				return fmt.Errorf("%d active connections: %v", n, held)
			}
			return nil
		}
	}
	testkit.Retry(t, "4 connections of one process", patience, byWorkers(4))

	worker := harness.Start(
		t,
		append(env, "CULVERT_LINK_SOCKET_DIR="+os.TempDir(), "CULVERT_EDGE_CACERT="+filepath.Join(e.Data, "ca.pem")),
		harness.Binary(t, "conn-worker"),
	)
	worker.Line(t, "connection registered") // its share, over the first process's proxy
	testkit.Retry(t, "4 connections of two workers", patience, byWorkers(4))
	if got := get(t, e.URL+"/?n=7&seed=1"); len(got) != 7 {
		t.Errorf("%d bytes through the joined worker, want 7", len(got))
	}

	harness.Start(
		t,
		append(env, "CULVERT_LISTEN=unix:"+filepath.Join(dir, "proxy.sock"), "CULVERT_ORIGIN_URL="+origin),
		harness.Binary(t, "proxy"),
	).Line(
		t,
		"proxy serving",
	)
	harness.Start(t, env, harness.Binary(t, "supervisor")).Line(t, "process started")
	tr := startTraffic(t, e.URL)
	tr.during(t, "the first process stopped", 0, func() {
		if code := one.Stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		testkit.Retry(t, "4 connections of the joined worker", patience, byWorkers(4))
	})
	if n := strings.Count(worker.Out.String(), "connection registered"); n < 4 {
		t.Errorf("the joined worker registered %d connections, want all 4", n)
	}
}

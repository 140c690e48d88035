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
)

// TestOthersJoinOneProcess runs everything in one process on a shared Redis, adds a worker and a proxy as
// processes of their own, then stops the first process. The others, with a new supervisor, serve every request.
func TestOthersJoinOneProcess(t *testing.T) {
	redis := installed(t, "redis-server")
	dir := t.TempDir()
	url := "unix://" + filepath.Join(dir, "redis.sock")
	start(t, nil, redis, "--port", "0", "--unixsocket", filepath.Join(dir, "redis.sock"), "--save", "", "--dir", dir)
	e := startEdge(t)
	origin := echoOrigin(t)
	env := []string{"TUNNEL_TOKEN=" + e.token, "CULVERT_REDIS_URL=" + url, "CULVERT_OPS_LISTEN=127.0.0.1:0"}
	one := start(t, env, binary(t, "culvert"), e.connectorCommand("quic", origin)...)
	byWorkers := func(want int) func() error {
		return func() error {
			list, err := e.admin.ListConnections(t.Context())
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

	worker := start(
		t,
		append(env, "CULVERT_LINK_SOCKET_DIR="+os.TempDir(), "CULVERT_EDGE_CACERT="+filepath.Join(e.data, "ca.pem")),
		binary(t, "conn-worker"),
	)
	worker.line(t, "connection registered") // its share, over the first process's proxy
	testkit.Retry(t, "4 connections of two workers", patience, byWorkers(4))
	if got := get(t, e.url+"/?n=7&seed=1"); len(got) != 7 {
		t.Errorf("%d bytes through the joined worker, want 7", len(got))
	}

	start(
		t,
		append(env, "CULVERT_LISTEN=unix:"+filepath.Join(dir, "proxy.sock"), "CULVERT_ORIGIN_URL="+origin),
		binary(t, "proxy"),
	).line(
		t,
		"proxy serving",
	)
	start(t, env, binary(t, "supervisor")).line(t, "process started")
	tr := startTraffic(t, e.url)
	tr.during(t, "the first process stopped", 0, func() {
		if code := one.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		testkit.Retry(t, "4 connections of the joined worker", patience, byWorkers(4))
	})
	if n := strings.Count(worker.out.String(), "connection registered"); n < 4 {
		t.Errorf("the joined worker registered %d connections, want all 4", n)
	}
}

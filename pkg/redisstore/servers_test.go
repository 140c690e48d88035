package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/storetest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// process is a server that a test started on a port of this machine.
type process struct {
	addr netip.AddrPort
	kill func()
}

// startTCP starts a server on a port of this machine. The words come after those that every server gets.
func startTCP(t *testing.T, words ...string) process {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	addr := testkit.FreeTCP(t)
	args := append(words, "--port", fmt.Sprint(addr.Port()), "--bind", "127.0.0.1", "--dir", t.TempDir())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, binary, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		cancel()
		_ = cmd.Wait() // killed on purpose
	}
	t.Cleanup(stop)
	testkit.Retry(t, "connect to the server", testkit.Patience, func() error {
		_, err := tell(t, addr, "PING")
		return err
	})
	return process{addr: addr, kill: stop}
}

// tell sends one command to a server.
func tell(t *testing.T, addr netip.AddrPort, words ...string) (string, error) {
	t.Helper()
	args := append([]string{"-h", addr.Addr().String(), "-p", fmt.Sprint(addr.Port())}, words...)
	out, err := exec.CommandContext(t.Context(), "redis-cli", args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err == nil && strings.HasPrefix(text, "ERR ") {
		err = errors.New(text)
	}
	return text, err
}

func mustTell(t *testing.T, addr netip.AddrPort, words ...string) string {
	t.Helper()
	out, err := tell(t, addr, words...)
	if err != nil {
		t.Fatalf("%v: %v %s", words, err, out)
	}
	return out
}

// startCluster starts a cluster of three masters, which goes on when one of them is down.
func startCluster(t *testing.T) []process {
	t.Helper()
	nodes := make([]process, 3)
	for i := range nodes {
		nodes[i] = startTCP(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000",
			"--cluster-port", fmt.Sprint(testkit.FreeTCP(t).Port()), "--save", "", "--appendonly", "no")
	}
	for i, n := range nodes {
		mustTell(t, n.addr, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*5462), fmt.Sprint(min(i*5462+5461, 16383)))
		mustTell(t, n.addr, "CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	for _, n := range nodes[1:] {
		port := mustTell(t, n.addr, "CONFIG", "GET", "cluster-port")
		mustTell(t, nodes[0].addr, "CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(n.addr.Port()), port[strings.LastIndex(port, "\n")+1:])
	}
	testkit.Retry(t, "form the cluster", testkit.Patience, func() error {
		for _, n := range nodes {
			info := mustTell(t, n.addr, "CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_size:3") ||
				!strings.Contains(info, "cluster_slots_ok:16384") {
				return errors.New(info)
			}
		}
		return nil
	})
	return nodes
}

func clusterURL(nodes []process) string {
	return fmt.Sprintf("redis+cluster://%s,%s", nodes[0].addr, nodes[1].addr)
}

// The contract holds in a cluster: every operation uses keys of one hash slot. When one master is down, the keys of some tunnels are, and
// the others are as usual.
func TestCluster(t *testing.T) {
	nodes := startCluster(t)
	storetest.Run(t, func(t *testing.T) *redisstore.Store {
		t.Helper()
		s, err := redisstore.OpenURL(t.Context(), clusterURL(nodes))
		return closing(t, s, err)
	})
	s, err := redisstore.OpenURL(t.Context(), clusterURL(nodes))
	closing(t, s, err)
	if found, err := s.Advise(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Advise = %v, %v", found, err)
	}
	alone, err := redisstore.OpenURL(t.Context(), "redis://"+nodes[0].addr.String())
	closing(t, alone, err)
	if found, err := alone.Advise(t.Context()); err != nil || len(found) != 1 || !strings.Contains(found[0].Error(), "redis+cluster://") {
		t.Errorf("Advise with the URL of a single server: %v, %v", found, err)
	}
	nodes[2].kill()
	testOnePartDown(t, s)
}

// testOnePartDown grants slots of many tunnels while one of three masters is down: about a third fail, and the others do not.
func testOnePartDown(t *testing.T, s *redisstore.Store) {
	t.Helper()
	var failed, granted int
	for i := range 24 {
		slot := tunnel.Slot{Tunnel: tunnel.ID{byte(i + 1), 7}, Connector: tunnel.ConnectorID{byte(i + 1), 9}}
		_, err := s.SlotsUnder(t.Context(), 5, slot.Tunnel, slot.Connector)
		if err == nil {
			_, err = s.GrantUnder(t.Context(), 5, lease.Grant{
				Slot: slot, Worker: "w", Edge: tunnel.EdgeAddr{Addr: netip.MustParseAddrPort("192.0.2.1:7844"), Region: "r"},
			}, 0, time.Minute)
		}
		switch {
		case err == nil:
			granted++
		case errors.Is(err, tunnel.ErrUnavailable):
			failed++
		default:
			t.Errorf("tunnel %d: %v", i, err)
		}
	}
	if granted < 8 || failed < 2 {
		t.Errorf("%d grants and %d failures of 24, with one of three masters down", granted, failed)
	}
}

// A server that is not part of a cluster is no cluster.
func TestClusterURLOfAnotherServer(t *testing.T) {
	p := startTCP(t, "--save", "", "--appendonly", "no")
	s, err := redisstore.OpenURL(t.Context(), "redis+cluster://"+p.addr.String())
	closing(t, s, err)
	if _, err := s.TakeLead(t.Context(), "role", "holder", time.Minute); !errors.Is(err, tunnel.ErrUnavailable) ||
		!strings.Contains(err.Error(), "write redis://") {
		t.Errorf("TakeLead: %v, want what to write", err)
	}
}

// startSentinel starts a sentinel that watches a master.
func startSentinel(t *testing.T, master netip.AddrPort) process {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\n"+
		"sentinel failover-timeout main 3000\n", master.Port())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startTCP(t, conf, "--sentinel")
}

// The contract holds for a server that is found through sentinels.
func TestSentinel(t *testing.T) {
	master := startTCP(t, "--save", "", "--appendonly", "no")
	guard := startSentinel(t, master.addr)
	storetest.Run(t, func(t *testing.T) *redisstore.Store {
		t.Helper()
		s, err := redisstore.OpenURL(t.Context(), fmt.Sprintf("redis+sentinel://%s/main", guard.addr))
		return closing(t, s, err)
	})
}

// When the master is gone, the sentinels make a replica the new one, and the store finds it.
func TestSentinelFailover(t *testing.T) {
	testkit.Long(t, "a sentinel takes seconds to replace a master")
	master := startTCP(t, "--save", "", "--appendonly", "no")
	replica := startTCP(t, "--save", "", "--appendonly", "no", "--replicaof", "127.0.0.1 "+fmt.Sprint(master.addr.Port()))
	guard := startSentinel(t, master.addr)
	testkit.Retry(t, "the sentinel knows the replica", testkit.Patience, func() error {
		if out := mustTell(t, guard.addr, "SENTINEL", "REPLICAS", "main"); !strings.Contains(out, fmt.Sprint(replica.addr.Port())) {
			return errors.New(out)
		}
		if out := mustTell(t, replica.addr, "INFO", "replication"); !strings.Contains(out, "master_link_status:up") {
			return errors.New(out)
		}
		return nil
	})
	s, err := redisstore.OpenURL(t.Context(), fmt.Sprintf("redis+sentinel://%s/main", guard.addr))
	closing(t, s, err)
	if _, err := s.TakeLead(t.Context(), "role", "first", time.Hour); err != nil {
		t.Fatal(err)
	}
	testkit.Retry(t, "the replica has the lead", testkit.Patience, func() error {
		if out := mustTell(t, replica.addr, "HGET", "cv:lead:role", "holder"); out != "first" {
			return errors.New(out)
		}
		return nil
	})
	master.kill()
	testkit.Retry(t, "the store goes on with the replica", testkit.Patience, func() error {
		holder, err := s.Leader(t.Context(), "role")
		if err == nil && holder != "first" {
			t.Fatalf("the new master has the holder %q", holder)
		}
		if err == nil {
			_, err = s.TakeLead(t.Context(), "role", "first", time.Hour)
		}
		return err
	})
}

func TestURLsOfSeveralServers(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis+sentinel://a,b:2,[::1]:3/main", ""},
		{"rediss+sentinel://u:p@a/main/2", ""},
		{"redis+cluster://u:p@@a:1,b:2", ""},
		{"rediss+cluster://a/0", ""},
		{"redis+sentinel://a", "no name of the master"},
		{"redis+sentinel://a/main/x", "not a database number"},
		{"redis+cluster://a/3", "no numbered databases"},
		{"redis+cluster://", "no host"},
		{"redis+cluster://a,,b", "no host"},
		{"redis+cluster://u:hunter2@a:port", "no host, or one that is none"},
		{"redis+cluster://u:hunter2%zz@a", "not a URL"},
		{"redis+cluster://" + strings.Join(slices.Repeat([]string{"a"}, 65), ","), "more than 64 hosts"},
	} {
		cfg := redisstore.Default()
		cfg.URL = c.url
		err := cfg.Validate()
		if c.want == "" && err != nil {
			t.Errorf("Validate(%q): %v", c.url, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("Validate(%q): got %v, want %q and no password", c.url, err, c.want)
		}
	}
}

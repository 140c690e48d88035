//go:build chaos && linux

package chaos_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/chaos"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// shardPorts are the masters of a Redis Cluster. The last one has keys of tunnels alone, so that it can be down without the rest.
var shardPorts = []int{7001, 7002, 7003}

const hashSlots = 16384

// common are keys of hash slots that concern every tunnel.
func common() []string {
	return []string{
		"cv:{worker}:records", "cv:{proxy}:records", "cv:{desired}:documents", "cv:{rules}:heads", "cv:{tail}:records", "cv:pool:default",
		"cv:lead:supervisor", "cv:lead:discovery:default",
	}
}

func (c *cluster) redisCLI(port int, words ...string) string {
	c.t.Helper()
	args := append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(port)}, words...)
	out, err := exec.CommandContext(c.t.Context(), harness.Installed(c.t, "redis-cli"), args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil || strings.HasPrefix(text, "ERR ") {
		c.t.Fatalf("redis-cli %v: %v: %s", words, err, text)
	}
	return text
}

// shard starts a master of the cluster, which keeps what it has on disk.
func (c *cluster) shard(port int) *harness.Program {
	c.t.Helper()
	dir := filepath.Join(c.dir, fmt.Sprint("shard-", port))
	if out, err := exec.Command("mkdir", "-p", dir).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	p := harness.Start(c.t, nil, harness.Installed(c.t, "redis-server"), "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
		"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000", "--save", "",
		"--appendonly", "yes", "--maxmemory-policy", "noeviction")
	testkit.Retry(c.t, "a shard", patience, func() error {
		return exec.Command("redis-cli", "-p", strconv.Itoa(port), "PING").Run()
	})
	return p
}

// startShards forms a cluster of three masters.
func (c *cluster) startShards() {
	c.t.Helper()
	owner := make([]int, hashSlots)
	for i := range owner {
		owner[i] = i * len(shardPorts) / hashSlots
	}
	for _, port := range shardPorts {
		c.shards = append(c.shards, c.shard(port))
	}
	for _, key := range common() {
		if at := c.hashSlot(key); owner[at] == len(shardPorts)-1 {
			owner[at] = 0
		}
	}
	for i, port := range shardPorts {
		words := []string{"CLUSTER", "ADDSLOTS"}
		for at, o := range owner {
			if o == i {
				words = append(words, strconv.Itoa(at))
			}
		}
		c.redisCLI(port, words...)
		c.redisCLI(port, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, port := range shardPorts[1:] {
		c.redisCLI(shardPorts[0], "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(port))
	}
	testkit.Retry(c.t, "form the cluster", patience, func() error {
		for _, port := range shardPorts {
			if info := c.redisCLI(port, "CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") ||
				!strings.Contains(info, "cluster_size:3") || !strings.Contains(info, "cluster_slots_ok:16384") {
				return errors.New(info)
			}
		}
		return nil
	})
	c.owner = owner
	_ = c.store.Close()
	c.store = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{fmt.Sprintf("127.0.0.1:%d", shardPorts[0])}})
}

func (c *cluster) hashSlot(key string) int {
	c.t.Helper()
	n, err := strconv.Atoi(c.redisCLI(shardPorts[0], "CLUSTER", "KEYSLOT", key))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func clusterURL() string {
	return fmt.Sprintf("redis+cluster://127.0.0.1:%d,127.0.0.1:%d", shardPorts[0], shardPorts[1])
}

// shardDown kills one master of three, which has the keys of some tunnels. In the course of that a worker is killed.
func shardDown(r *run) {
	last := len(shardPorts) - 1
	down := map[string]bool{}
	for _, c := range r.conns() {
		for _, key := range []string{fmt.Sprintf("cv:{%s/%s}:slots", c.Slot.Tunnel, c.Connector), "cv:connector:" + c.Slot.Tunnel} {
			down[c.Slot.Tunnel] = down[c.Slot.Tunnel] || r.owner[r.hashSlot(key)] == last
		}
	}
	affected := 0
	for _, is := range down {
		if is {
			affected++
		}
	}
	other := func(s chaos.Slot) bool { return !down[s.Tunnel] }
	at := r.now()
	r.kill(r.shards[last])
	r.rest(45*time.Second, 4*time.Minute)
	sum := r.summary(at, r.now())
	r.set(kept, sum.KeptPercent())
	r.set(registrations, float64(sum.Registrations))
	r.set(failed, r.failures(at))
	r.set("tunnels of the shard", float64(affected))

	killed := r.now()
	r.kill(r.busiest().Program)
	r.rest(15*time.Second, time.Minute)
	r.set("unserved per index of others, s", r.summaryOf(killed, r.now(), other).Unserved.Seconds())
	r.shards[last] = r.shard(shardPorts[last])
	r.set("control live after the return, s", r.controlLive().Seconds())
	r.rest(30*time.Second, time.Minute)
	r.set(notServed, float64(r.summary(killed, r.now()).Down))
	r.set("lines of a supervisor about it", float64(r.lines("supervisor", "part of the control plane failed", "control plane is unavailable")))
	r.set("lines of a worker about it", float64(r.lines("conn-worker", "control plane is unavailable")))
}

// lines is the most lines with one of the texts that a process of a service has printed.
func (r *run) lines(service string, texts ...string) int {
	most := 0
	for _, p := range r.parts {
		if p.service != service || p.Program == nil {
			continue
		}
		n := 0
		for line := range strings.SplitSeq(p.Out.String(), "\n") {
			if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) }) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

//go:build chaos && linux

package chaos_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/chaos"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// drop ends one session at the edge and waits until its slot is served again.
func (r *run) drop(c chaos.Conn) time.Duration {
	r.t.Helper()
	if err := r.edge.Admin.EvictConnection(r.t.Context(), c.ID); err != nil {
		r.t.Error(err)
	}
	took, ok := r.until(patience, func() bool {
		return slices.ContainsFunc(r.conns(), func(other chaos.Conn) bool { return other.Slot == c.Slot && other.ID != c.ID })
	})
	if !ok {
		r.t.Errorf("%v is not served again after %v", c.Slot, took)
	}
	return took
}

// controlLive waits until every part that says so says that the store responds, and one supervisor leads.
func (r *run) controlLive() time.Duration {
	r.t.Helper()
	took, ok := r.until(patience, func() bool {
		leads := false
		for _, p := range r.parts {
			if p.service == "proxy" || p.Program == nil || p.over() { // a proxy has no such metric
				continue
			}
			if v, err := r.metric(p.ops, "culvert_control_plane_up", ""); err != nil || v != 1 {
				return false
			}
			if p.service == "supervisor" {
				v, err := r.metric(p.ops, "culvert_supervisor_leading", "")
				leads = leads || err == nil && v == 1
			}
		}
		return leads
	})
	if !ok {
		r.t.Errorf("the store does not respond to everybody after %v", took)
	}
	return took
}

// redisSilent lets no packet pass to and from Redis, which keeps what it has. Meanwhile the edge drops a session.
func redisSilent(r *run) {
	at := r.now()
	r.block(fmt.Sprintf("tcp dport %d", redisPort), fmt.Sprintf("tcp sport %d", redisPort))
	r.rest(25*time.Second, 9*time.Minute)
	victim := r.conns()[0]
	r.set("back after a drop, s", r.drop(victim).Seconds())
	r.rest(15*time.Second, time.Minute)
	back := r.now()
	r.block()
	r.set("control live after the return, s", r.controlLive().Seconds())
	r.rest(30*time.Second, 60*time.Second)
	r.set("moves at the return", float64(r.summary(back, r.now()).Registrations))
	sum := r.repaired(at)
	r.set("sessions ended beside the dropped one", float64(sum.Began-1-sum.Kept))
}

// redisFailover kills a master, promotes its replica, and puts a relay to it in the master's place.
// What the replica did not have yet is lost, as with every failover of Redis.
func redisFailover(r *run) {
	at := r.now()
	replica := harness.Start(r.t, nil, harness.Installed(r.t, "redis-server"), "--port", "6390", "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no", "--dir", r.t.TempDir(), "--replicaof", "127.0.0.1", strconv.Itoa(redisPort))
	testkit.Retry(r.t, "the replica follows", patience, func() error { return r.onReplica("INFO replication", "master_link_status:up") })
	r.wait(time.Second)
	r.stopRedis()
	r.redis = replica
	r.wait(time.Second)
	if err := r.onReplica("REPLICAOF NO ONE", "+OK"); err != nil {
		r.t.Fatal(err)
	}
	newRelay(r, fmt.Sprintf("0.0.0.0:%d", redisPort), "127.0.0.1:6390")
	r.set("control live, s", r.controlLive().Seconds())
	r.rest(30*time.Second, 60*time.Second)
	r.repaired(at)
}

// onReplica sends a command to the replica and wants text in the response.
func (r *run) onReplica(command, text string) error {
	c, err := net.DialTimeout("tcp", "127.0.0.1:6390", time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, command+"\r\nQUIT\r\n"); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err == nil && !strings.Contains(string(b), text) {
		err = fmt.Errorf("no %q in the response to %s: %.200s", text, command, b)
	}
	return err
}

// newRelay passes connections on until the run ends.
func newRelay(r *run, listen, to string) {
	r.t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		r.t.Fatal(err)
	}
	var open sync.WaitGroup
	r.t.Cleanup(func() { _ = ln.Close(); open.Wait() })
	open.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer near.Close()
				far, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer far.Close()
				open.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
				_, _ = io.Copy(near, far)
			})
		}
	})
}

// edgeClosesAtOnce drops every session of the first tunnel as soon as it is seen. The other tunnel is not concerned.
func edgeClosesAtOnce(r *run) {
	at, slot := r.now(), r.slotOf("peer")
	before := r.registrationsAtEdge()
	end := at + pick(time.Minute, 10*time.Minute)
	for r.now() < end {
		conns, err := r.sessions(r.t.Context())
		for _, c := range conns {
			if err == nil && c.Slot.Tunnel == slot.Tunnel {
				_ = r.edge.Admin.EvictConnection(r.t.Context(), c.ID) // it may be over
			}
		}
		r.wait(10 * time.Millisecond)
	}
	other := func(s chaos.Slot) bool { return s.Tunnel != slot.Tunnel }
	others := r.summaryOf(at, r.now(), other)
	r.set("registrations of the connector", r.registrationsAtEdge()-before-float64(others.Registrations))
	took, _ := r.until(3*time.Minute, r.served)
	r.set("served again, s", took.Seconds())
	r.set("registrations of others", float64(r.summaryOf(at, r.now(), other).Registrations))
	r.set("failed requests of others", r.failuresOf(at, "tunnel1.test"))
}

// slotOf is index 0 of a tunnel.
func (r *run) slotOf(name string) chaos.Slot {
	r.t.Helper()
	tn, err := r.edge.Admin.GetTunnel(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return chaos.Slot{Tunnel: tn.ID.String()}
}

// registrationsAtEdge counts them from the beginning on, of all tunnels.
func (r *run) registrationsAtEdge() float64 {
	r.t.Helper()
	n, err := r.metric(r.edgeOps, "culvert_edge_registrations_total", "")
	if err != nil {
		r.t.Error(err)
	}
	return n
}

// edgeAddressLost makes one of the edge's addresses fall silent, or closes it. Its slots have to find another one.
func edgeAddressLost(verdict string) func(r *run) {
	return func(r *run) {
		at, victim := r.now(), r.conns()[0]
		_, port, _ := strings.Cut(victim.Address, ":")
		var lost []chaos.Conn
		for _, c := range r.conns() {
			if c.Address == victim.Address {
				lost = append(lost, c)
			}
		}
		var rules []string
		for _, protocol := range []string{"udp", "tcp"} {
			if verdict == "reject" { // as a host does whose program is gone; what the edge still sends is lost
				with := map[string]string{"udp": "icmp port-unreachable", "tcp": "tcp reset"}[protocol]
				rules = append(rules, protocol+" dport "+port+" reject with "+with, protocol+" sport "+port+" drop")
				continue
			}
			rules = append(rules, protocol+" dport "+port+" drop", protocol+" sport "+port+" drop")
		}
		r.rules(rules...)
		took, ok := r.until(patience, func() bool {
			now := r.conns()
			for _, l := range lost {
				if !slices.ContainsFunc(now, func(c chaos.Conn) bool { return c.Slot == l.Slot && c.Address != l.Address }) {
					return false
				}
			}
			return true
		})
		if !ok {
			r.t.Error("some slot is not registered elsewhere")
		}
		r.set("registered elsewhere, s", took.Seconds())
		r.rest(15*time.Second, 60*time.Second)
		r.repaired(at)
	}
}

// edgeRestarted kills the only edge and starts it again, with its ports and its data.
func edgeRestarted(r *run) {
	at := r.now()
	r.kill(r.edge.Program)
	r.wait(2 * time.Second)
	cmd := r.edge.Cmd
	r.edge.Program = harness.Start(r.t, cmd.Env, cmd.Path, cmd.Args[1:]...)
	first, _ := r.until(patience, func() bool { c, err := r.sessions(r.t.Context()); return err == nil && len(c) > 0 })
	r.set("first session, s", first.Seconds())
	rest, _ := r.until(patience, r.served)
	r.set("all sessions, s", (first + rest).Seconds())
	http2 := 0
	for _, c := range r.conns() {
		if c.Protocol == "http2" {
			http2++
		}
	}
	r.set("sessions over HTTP/2", float64(http2))
	r.rest(15*time.Second, 60*time.Second)
	r.repaired(at)
}

// unreadableRecord writes bytes that are no record over the slot of one index, and over a worker that does not exist.
func unreadableRecord(r *run) {
	at, victim := r.now(), r.conns()[0]
	ctx := r.t.Context()
	key := fmt.Sprintf("cv:{%s/%s}:slots", victim.Slot.Tunnel, victim.Connector)
	fields, err := r.store.HKeys(ctx, key).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, f := range fields {
		if strings.HasPrefix(f, strconv.Itoa(victim.Slot.Index)+":") {
			n++
			err = r.store.HSet(ctx, key, f, "\xff{").Err()
		}
	}
	if n == 0 || err != nil {
		r.t.Fatalf("%d fields of the slot in %s: %v", n, key, err)
	}
	far := float64(time.Now().Add(time.Hour).UnixMilli())
	if err := r.store.Do(ctx, "ZADD", "cv:{worker}:deadlines", far, "bad").Err(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.HSet(ctx, "cv:{worker}:records", "bad", "\xff{").Err(); err != nil {
		r.t.Fatal(err)
	}
	r.rest(45*time.Second, 2*time.Minute)
	r.set("registrations of others", float64(r.summaryOf(at, r.now(), func(s chaos.Slot) bool { return s != victim.Slot }).Registrations))
	r.repaired(at)
}

// slotKillsWorker kills every worker that holds one slot, as a defect would that only this slot brings out; its service manager starts it
// again after a second. Each process dies once: with dialling, as soon as it has said that it dials, which is before the slot is
// registered; else as soon as the edge shows the session.
func slotKillsWorker(dialling bool) func(r *run) {
	return func(r *run) {
		at, slot := r.now(), r.slotOf("peer")
		seen := map[string]bool{} // the edge shows a session for a while after its worker was killed
		held := func(p *part) bool {
			for _, c := range r.conns() {
				if c.Slot == slot && c.Worker == p.edgeAddr() && !seen[c.ID] {
					seen[c.ID] = true
					return true
				}
			}
			return false
		}
		deaths := 0
		for end := at + pick(2*time.Minute, 10*time.Minute); r.now() < end; r.wait(2 * time.Millisecond) {
			for _, p := range r.of("conn-worker") {
				if deaths > 0 && dialling && !p.dials(slot) || (deaths == 0 || !dialling) && !held(p) {
					continue
				}
				deaths++
				r.kill(p.Program)
				r.wait(time.Second)
				r.again(p)
			}
		}
		r.set("deaths of workers", float64(deaths))
		others := r.summaryOf(at, r.now(), func(s chaos.Slot) bool { return s.Tunnel != slot.Tunnel })
		r.set("unserved per index of others, s", others.Unserved.Seconds())
		r.failures(at)
	}
}

// dials says whether a process has said that it dials for a slot.
func (p *part) dials(slot chaos.Slot) bool {
	for line := range strings.SplitSeq(p.Out.String(), "\n") {
		if strings.Contains(line, `"connection is dialled"`) && strings.Contains(line, slot.Tunnel) &&
			strings.Contains(line, fmt.Sprintf(`"conn_index":%d,`, slot.Index)) {
			return true
		}
	}
	return false
}

// udpBlocked drops UDP to and from the edge, until all is well over HTTP/2, and lets it pass again.
func udpBlocked(r *run) {
	all := func(protocol string) func() bool {
		return func() bool {
			return r.served() && !slices.ContainsFunc(r.conns(), func(c chaos.Conn) bool { return c.Protocol != protocol })
		}
	}
	var rules []string
	for _, port := range r.edge.Ports {
		rules = append(rules, fmt.Sprintf("udp dport %d", port), fmt.Sprintf("udp sport %d", port))
	}
	at := r.now()
	r.block(rules...)
	r.wait(time.Second) // the edge still shows the lost sessions
	took, _ := r.until(patience, all("http2"))
	r.set("HTTP/2 everywhere, s", took.Seconds()+1)
	r.rest(10*time.Second, 60*time.Second)
	r.summary(at, r.now())
	open := r.now()
	r.block()
	took, ok := r.until(3*time.Minute, all("quic"))
	if !ok {
		r.t.Error("QUIC did not come back")
	}
	r.set("QUIC everywhere, s", took.Seconds())
	r.rest(10*time.Second, 60*time.Second)
	r.set("unserved on the way back, s", r.summary(open, r.now()).Unserved.Seconds())
	r.set("failed requests on the way back", r.failuresOf(open, ""))
}

// workersComeAndGo starts seven more workers and, when they have their share, asks six of eight to end, all at once.
func workersComeAndGo(r *run) {
	at := r.now()
	for range 7 {
		r.cluster.start("conn-worker")
	}
	r.registered(8)
	r.wait(10 * time.Second)
	r.settled()
	going := r.of("conn-worker")[:6]
	for _, p := range going {
		r.signal(p, syscall.SIGTERM)
	}
	_, ok := r.until(3*time.Minute, func() bool {
		return !slices.ContainsFunc(going, func(p *part) bool { return !p.over() })
	})
	if !ok {
		r.t.Error("a worker does not end")
	}
	r.rest(10*time.Second, 60*time.Second)
	r.repaired(at)
}

// rolling restarts every process of every service but the edge, one after another: it is asked to end, and started again when it has
// ended. The next one follows when it is ready.
func rolling(other bool) func(r *run) {
	return func(r *run) {
		if other {
			r.bin = otherVersion(r)
		}
		at, longest := r.now(), time.Duration(0)
		for _, service := range []string{"discovery", "supervisor", "proxy", "conn-worker"} {
			for _, p := range r.of(service) {
				r.signal(p, syscall.SIGTERM)
				took, ok := r.until(patience, p.over)
				if !ok {
					r.t.Fatalf("%s does not end", p.name)
				}
				longest = max(longest, took)
				r.again(p)
				r.ready(p)
				r.wait(3 * time.Second)
			}
		}
		r.rest(10*time.Second, 60*time.Second)
		r.set("longest stop, s", longest.Seconds())
		former := 0
		for _, c := range r.conns() {
			if c.Version != nextVersion {
				former++
			}
		}
		r.set("sessions of the former version", float64(former))
		r.repaired(at)
	}
}

const nextVersion = "next"

// otherVersion builds the services with another version.
func otherVersion(r *run) string {
	dir := r.t.TempDir()
	for _, s := range []string{"discovery", "supervisor", "proxy", "conn-worker"} {
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "timetzdata", "-ldflags",
			"-s -w -X github.com/culvert-tunnel/culvert/pkg/process.version="+nextVersion, "-o", filepath.Join(dir, s), "./services/"+s+"/cmd/"+s)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			r.t.Fatalf("build %s: %v\n%s", s, err, out)
		}
	}
	return dir
}

// startSplit starts the worker of a deployment that has everything else.
func startSplit(r *run) {
	r.wait(5 * time.Second)
	r.starts(func() { r.cluster.start("conn-worker") })
}

// startOne starts the connector in one process.
func startOne(r *run) {
	r.starts(func() { r.connector(filepath.Join(r.bin, "culvert")) })
}

// startStock starts the stock connector, if there is one.
func startStock(r *run) {
	path := os.Getenv(harness.PeerVariable)
	if path == "" {
		r.t.Skipf("%s names no stock connector", harness.PeerVariable)
	}
	r.starts(func() { r.connector(path) })
}

func (r *run) connector(path string) {
	r.t.Helper()
	command := r.edge.ConnectorCommand("quic", r.origin.URL)
	command = slices.Insert(command, len(command)-1, "--metrics", "127.0.0.1:0")
	r.others = append(r.others, harness.Start(r.t, []string{"TUNNEL_TOKEN=" + r.edge.Token, "NO_AUTOUPDATE=true"}, path, command...))
}

// starts measures from the start of a connector to its connections, and how long a lost one takes.
func (r *run) starts(start func()) {
	r.t.Helper()
	began := time.Now()
	start()
	for _, s := range []struct {
		n       int
		measure string
	}{{1, "first connection, s"}, {connections, "fourth connection, s"}} {
		if _, ok := r.until(patience, func() bool { return len(r.conns()) >= s.n }); !ok {
			r.t.Errorf("no %s", s.measure)
		}
		r.set(s.measure, time.Since(began).Seconds())
	}
	r.wait(5 * time.Second)
	r.set("back after a drop, s", r.drop(r.conns()[1]).Seconds())
}

//go:build chaos && linux

package chaos_test

import (
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/tests/chaos"
)

// Measures that most scenarios have.
const (
	unserved      = "unserved per index, s"
	longestGap    = "longest gap of an index, s"
	failed        = "failed requests"
	kept          = "sessions kept, %"
	registrations = "registrations"
	perSlot       = "registrations of one index"
	moves         = "moves"
	connectorIDs  = "connector ids of a tunnel"
	notServed     = "indices not served at the end"
)

func atMost(measure string, n float64) chaos.Bound { return chaos.Bound{Measure: measure, Limit: n} }

func atLeast(measure string, n float64) chaos.Bound {
	return chaos.Bound{Measure: measure, Limit: n, AtLeast: true}
}

func within(measure string, seconds float64) chaos.Bound {
	return chaos.Bound{Measure: measure, Limit: seconds, Time: true}
}
func shown(measure string) chaos.Bound { return chaos.Bound{Measure: measure, Free: true} }

// small and wide are the deployments of most scenarios.
func small() size { return size{tunnels: 2, supervisors: 2, workers: 3, proxies: 2} }
func wide() size  { return size{tunnels: 20, supervisors: 2, workers: 5, proxies: 2} }

// scenarios is the table: every fault, its deployment, and the bounds.
func scenarios() []scenario {
	return []scenario{
		{
			name: "redis-emptied", quick: true, size: wide(), fault: redisEmptied,
			bounds: []chaos.Bound{
				atLeast(kept, 95), atMost(registrations, 4), atMost(failed, 0), atMost(connectorIDs, 1), atMost(unserved, 0),
				atMost("planned moves to the new worker", 14), // its share of 80
			},
		},
		{
			name: "worker-without-edge", size: small(), fault: workerCutOff(fromEdge),
			bounds: []chaos.Bound{
				within(unserved, 25), atMost("gaps of one index", 1), atMost("registrations of one index after the return", 1), shown(failed),
				atMost(notServed, 0),
			},
		},
		{
			name: "worker-without-redis", size: small(), fault: workerCutOff(fromStore),
			bounds: []chaos.Bound{
				atMost(unserved, 0), atMost("gaps of one index", 0), atMost("registrations of one index after the return", 1), atMost(failed, 0),
				atMost(notServed, 0),
			},
		},
		{
			name: "worker-joins-without-edge", size: small(), fault: workerJoinsWithoutEdge,
			bounds: []chaos.Bound{atMost(unserved, 0), atMost("attempts of the worker", 2), atMost(failed, 0), atLeast(kept, 100)},
		},
		{
			name: "worker-drained", quick: true, size: size{tunnels: 10, supervisors: 2, workers: 1, proxies: 2}, fault: workerDrained,
			bounds: []chaos.Bound{
				atLeast("indices of the worker", 38), atMost(unserved, 0), atMost(failed, 0), atMost(perSlot, 1), shown("drain, s"),
				atMost(notServed, 0),
			},
		},
		{
			name: "worker-killed", quick: true, size: small(), fault: workerKilled,
			bounds: []chaos.Bound{within(unserved, 8), atMost(perSlot, 1), shown(failed), atMost(notServed, 0)},
		},
		{
			name: "worker-started-again", size: size{tunnels: 2, supervisors: 2, workers: 1, proxies: 2}, fault: workerStartedAgain,
			bounds: []chaos.Bound{
				within("first session after the start, s", 2), within("all sessions after the start, s", 6), shown(failed), atMost(notServed, 0),
			},
		},
		{
			name: "worker-stopped-3s", size: small(), fault: workerStopped(3 * time.Second),
			bounds: []chaos.Bound{atMost(unserved, 0), atMost(registrations, 0), shown(failed)},
		},
		{
			name: "worker-stopped-30s", size: small(), fault: workerStopped(30 * time.Second),
			bounds: []chaos.Bound{within(unserved, 20), atMost(perSlot, 2), shown(failed), atMost(notServed, 0)},
		},
		{
			name: "leader-stopped-30s", size: small(), fault: leaderStopped,
			bounds: []chaos.Bound{
				atMost(moves, 0), atMost(registrations, 0), atMost(unserved, 0), atMost(failed, 0), within("until another one leads, s", 10),
			},
		},
		{
			name: "redis-silent", size: small(), fault: redisSilent,
			bounds: []chaos.Bound{
				within("back after a drop, s", 5), atMost("sessions ended beside the dropped one", 0), atMost("moves at the return", 0),
				atMost(failed, 0), within("control live after the return, s", 10),
			},
		},
		{
			name: "redis-failover", size: small(), fault: redisFailover,
			bounds: []chaos.Bound{
				atLeast(kept, 100), atMost(registrations, 0), atMost(unserved, 0), atMost(failed, 0), within("control live, s", 10),
				atMost(connectorIDs, 1),
			},
		},
		{
			name: "cluster-shard-down", size: size{tunnels: 12, supervisors: 2, workers: 3, proxies: 2, shards: true}, fault: shardDown,
			bounds: []chaos.Bound{
				atLeast("tunnels of the shard", 1), atLeast(kept, 100), atMost(registrations, 0), atMost(failed, 0),
				within("unserved per index of others, s", 8), within("control live after the return, s", 10), atMost(notServed, 0),
				atMost("lines of a supervisor about it", 1), atMost("lines of a worker about it", 1),
			},
		},
		{
			name: "edge-closes-at-once", size: small(), fault: edgeClosesAtOnce,
			bounds: []chaos.Bound{
				atMost("registrations of the connector", 60), atMost("registrations of others", 0), atMost("failed requests of others", 0),
				within("served again, s", 60),
			},
		},
		{
			name: "edge-address-silent", size: small(), fault: edgeAddressLost("drop"),
			bounds: []chaos.Bound{within("registered elsewhere, s", 8), atMost(perSlot, 2), atMost(failed, 0), atMost(notServed, 0)},
		},
		{
			name: "edge-address-silent-http2", size: size{tunnels: 2, supervisors: 2, workers: 3, proxies: 2, protocol: "http2"},
			fault:  edgeAddressLost("drop"),
			bounds: []chaos.Bound{within("registered elsewhere, s", 8), atMost(perSlot, 2), shown(failed), atMost(notServed, 0)},
		},
		{
			name: "edge-address-closed", size: small(), fault: edgeAddressLost("reject"),
			bounds: []chaos.Bound{within("registered elsewhere, s", 3), atMost(perSlot, 2), atMost(failed, 0), atMost(notServed, 0)},
		},
		{
			name: "edge-restarted", size: small(), fault: edgeRestarted,
			bounds: []chaos.Bound{shown("first session, s"), shown("all sessions, s"), shown("sessions over HTTP/2"), atMost(perSlot, 2), atMost(notServed, 0)},
		},
		{
			name: "unreadable-record", size: small(), fault: unreadableRecord,
			bounds: []chaos.Bound{atMost("registrations of others", 0), atMost(unserved, 0), atMost(failed, 0), atLeast(kept, 100)},
		},
		{
			name: "slot-kills-its-worker", size: small(), fault: slotKillsWorker(true),
			bounds: []chaos.Bound{atMost("deaths of workers", 4), shown("unserved per index of others, s")},
		},
		{
			name: "session-kills-its-worker", size: small(), fault: slotKillsWorker(false),
			bounds: []chaos.Bound{atMost("deaths of workers", 4), shown("unserved per index of others, s")},
		},
		{
			name: "udp-blocked", size: size{tunnels: 2, supervisors: 2, workers: 2, proxies: 2, env: []string{"CULVERT_EDGE_RETURN_AFTER=20s"}},
			fault: udpBlocked,
			bounds: []chaos.Bound{
				within("HTTP/2 everywhere, s", 10), within("QUIC everywhere, s", 80), atMost("unserved on the way back, s", 0),
				atMost("failed requests on the way back", 0),
			},
		},
		{
			name: "workers-1-8-2", size: size{tunnels: 4, supervisors: 2, workers: 1, proxies: 2}, fault: workersComeAndGo,
			bounds: []chaos.Bound{atMost(failed, 0), atMost(unserved, 0), shown(moves), atMost(notServed, 0)},
		},
		{
			name: "rolling-restart-quic", size: size{tunnels: 2, supervisors: 2, workers: 3, proxies: 2, protocol: "quic"}, fault: rolling(false),
			bounds: []chaos.Bound{atMost(failed, 0), atMost(unserved, 0), shown(registrations), shown("longest stop, s"), atMost(notServed, 0)},
		},
		{
			name: "rolling-restart-http2", size: size{tunnels: 2, supervisors: 2, workers: 3, proxies: 2, protocol: "http2"}, fault: rolling(false),
			bounds: []chaos.Bound{atMost(failed, 0), atMost(unserved, 0), shown(registrations), shown("longest stop, s"), atMost(notServed, 0)},
		},
		{
			name: "rolling-upgrade", size: small(), fault: rolling(true),
			bounds: []chaos.Bound{
				atMost(failed, 0), atMost(unserved, 0), shown(registrations), shown("longest stop, s"), atMost("sessions of the former version", 0),
				atMost(notServed, 0),
			},
		},
		{
			name: "start-split", size: size{tunnels: 1, supervisors: 1, workers: 1, proxies: 1, later: true}, fault: startSplit,
			bounds: []chaos.Bound{shown("first connection, s"), shown("fourth connection, s"), shown("back after a drop, s")},
		},
		{
			name: "start-one-process", size: size{tunnels: 1, later: true}, fault: startOne,
			bounds: []chaos.Bound{shown("first connection, s"), shown("fourth connection, s"), shown("back after a drop, s")},
		},
		{
			name: "start-stock", size: size{tunnels: 1, later: true}, fault: startStock,
			bounds: []chaos.Bound{shown("first connection, s"), shown("fourth connection, s"), shown("back after a drop, s")},
		},
	}
}

// redisEmptied kills Redis, which had kept nothing on disk, and starts it after 3 s. A new worker waits for it, and may then have its share
// by planned moves; everything else counts as lost.
func redisEmptied(r *run) {
	at := r.now()
	r.stopRedis()
	r.wait(2 * time.Second)
	fresh := r.cluster.start("conn-worker")
	r.wait(time.Second)
	r.startRedis()
	r.rest(30*time.Second, 60*time.Second)
	sum := r.repaired(at)
	share := r.held(fresh)
	r.set("planned moves to the new worker", float64(share))
	r.set(registrations, float64(sum.Registrations-share))
	r.set(kept, 100*float64(sum.Kept+share)/float64(sum.Began))
}

// workerKilled kills the worker with the most sessions.
func workerKilled(r *run) {
	at := r.now()
	r.kill(r.busiest().Program)
	r.rest(30*time.Second, 60*time.Second)
	r.repaired(at)
}

// workerStartedAgain kills the only worker, and starts it again at once, as a service manager does.
func workerStartedAgain(r *run) {
	at, p := r.now(), r.busiest()
	former := map[string]bool{} // the edge shows them for a while
	for _, c := range r.conns() {
		former[c.ID] = true
	}
	fresh := func(n int) func() bool {
		return func() bool {
			have := 0
			for _, c := range r.conns() {
				if !former[c.ID] {
					have++
				}
			}
			return have >= n
		}
	}
	r.kill(p.Program)
	r.again(p)
	first, _ := r.until(patience, fresh(1))
	rest, _ := r.until(patience, fresh(len(r.slots)))
	r.set("first session after the start, s", first.Seconds())
	r.set("all sessions after the start, s", (first + rest).Seconds())
	r.rest(10*time.Second, 60*time.Second)
	r.repaired(at)
}

// repaired sets the measures of a fault that somebody else repairs.
func (r *run) repaired(since time.Duration) chaos.Summary {
	sum := r.summary(since, r.now())
	r.set(unserved, sum.Unserved.Seconds())
	r.set(longestGap, sum.Gap.Seconds())
	r.set(registrations, float64(sum.Registrations))
	r.set(perSlot, float64(sum.PerSlot))
	r.set(moves, float64(sum.Moves))
	r.set(kept, sum.KeptPercent())
	r.set(notServed, float64(sum.Down))
	r.set(connectorIDs, float64(sum.Connectors))
	r.set(failed, r.failures(since))
	return sum
}

// workerStopped stops the worker with the most sessions for a time.
func workerStopped(d time.Duration) func(r *run) {
	return func(r *run) {
		at, p := r.now(), r.busiest()
		r.signal(p, syscall.SIGSTOP)
		r.wait(d)
		r.signal(p, syscall.SIGCONT)
		r.rest(30*time.Second, 60*time.Second)
		r.repaired(at)
	}
}

// workerDrained asks a worker with all sessions to end, when another one has come. It is the only one, so that it has them all.
func workerDrained(r *run) {
	old := r.busiest()
	for range 2 {
		r.cluster.start("conn-worker")
	}
	r.registered(3)
	at := r.now()
	r.set("indices of the worker", float64(r.held(old)))
	r.signal(old, syscall.SIGTERM)
	took, _ := r.until(3*time.Minute, old.over)
	r.set("drain, s", took.Seconds())
	r.rest(10*time.Second, 60*time.Second)
	r.repaired(at)
}

// workerCutOff cuts the busiest worker off from something for longer than a lease, and heals that.
func workerCutOff(from func(*part) []string) func(r *run) {
	return func(r *run) {
		at, p := r.now(), r.busiest()
		r.block(from(p)...)
		r.rest(40*time.Second, 60*time.Second)
		back := r.now()
		r.block()
		r.rest(30*time.Second, 60*time.Second)
		r.set("registrations of one index after the return", float64(r.summary(back, r.now()).PerSlot))
		r.set("gaps of one index", float64(r.repaired(at).Gaps))
	}
}

// workerJoinsWithoutEdge starts a worker whose packets do not reach the edge.
func workerJoinsWithoutEdge(r *run) {
	at, p := r.now(), r.add("conn-worker")
	r.block(fromEdge(p)...)
	r.again(p)
	r.rest(90*time.Second, 10*time.Minute)
	dials, err := r.metric(p.ops, "culvert_worker_dials_total", "")
	if err != nil {
		r.t.Error(err)
	}
	r.set("attempts of the worker", dials)
	r.repaired(at)
}

// leaderStopped stops the supervisor that plans in the middle of a pass: as soon as it has sent a script.
func leaderStopped(r *run) {
	p := r.leader()
	at := r.now()
	r.midPass(p, func() { r.signal(p, syscall.SIGSTOP) })
	took, _ := r.until(30*time.Second, func() bool {
		for _, other := range r.of("supervisor") {
			if v, err := r.metric(other.ops, "culvert_supervisor_leading", ""); other != p && err == nil && v == 1 {
				return true
			}
		}
		return false
	})
	r.set("until another one leads, s", took.Seconds())
	r.wait(30*time.Second - took)
	r.signal(p, syscall.SIGCONT)
	r.rest(30*time.Second, 60*time.Second)
	r.repaired(at)
}

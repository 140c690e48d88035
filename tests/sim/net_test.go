package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// outcome is what one call to the store gave.
type outcome struct {
	took time.Duration
	err  error
}

// callOnce lets worker w1 write a key at 50 s while a fault is active, and returns what it saw and whether the key was written then
// and 15 s later.
func callOnce(t *testing.T, f Fault) (o outcome, atOnce, later bool) {
	t.Helper()
	const key = "cv:connector:x"
	write := command.Command{Keys: []string{key}, Args: []string{"set", key, "v", "nx"}}
	written := func(c *Cluster) bool {
		for _, content := range c.server.db.Contents() {
			if content.Key == key {
				return true
			}
		}
		return false
	}
	calls := 0
	programs := toys(map[string]func(*Env){"w1": func(e *Env) {
		e.After(50*time.Second-e.cluster.engine.Elapsed(), "call", func() {
			began := e.Now()
			e.Call("test", write, func(_ any, err error) {
				calls++
				o = outcome{took: e.Now().Sub(began), err: err}
				atOnce = written(e.cluster)
			})
		})
	}})
	f.At, f.For = Duration(49*time.Second), Duration(2*time.Second)
	c := play(t, programs, []Fault{f}, 70*time.Second)
	if calls != 1 {
		t.Fatalf("%v: done ran %d times, want once", f, calls)
	}
	return o, atOnce, written(c)
}

func TestCallsToTheStore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		fault         Fault
		err           string // part of the error
		took          time.Duration
		atOnce, later bool
	}{
		{name: "undisturbed", fault: Fault{Kind: Future, N: 3}, atOnce: true, later: true},
		{name: "request lost", fault: Fault{Kind: LoseRequest}, err: "no response", took: callTimeout},
		{name: "reply lost", fault: Fault{Kind: LoseReply}, err: "no response", took: callTimeout, atOnce: true, later: true},
		{name: "executed late", fault: Fault{Kind: Late}, err: "no response", took: callTimeout, later: true},
		{name: "cut", fault: Fault{Kind: Cut}, err: "refused"},
		{name: "cut for another process", fault: Fault{Kind: Cut, Target: "w2"}, atOnce: true, later: true},
		{name: "cut for another command", fault: Fault{Kind: Cut, Op: "grant"}, atOnce: true, later: true},
		{name: "cut for this command", fault: Fault{Kind: Cut, Op: "set"}, err: "refused"},
		{name: "read only", fault: Fault{Kind: ReadOnly}, err: "READONLY"},
		{name: "out of memory", fault: Fault{Kind: OutOfMemory}, err: "OOM"},
		{name: "loading", fault: Fault{Kind: Loading}, err: "LOADING"},
		{name: "another shard", fault: Fault{Kind: ShardDown, Target: "t1"}, atOnce: true, later: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, atOnce, later := callOnce(t, c.fault)
			switch {
			case c.err == "" && o.err != nil:
				t.Errorf("error %v, want none", o.err)
			case c.err != "" && (!errors.Is(o.err, tunnel.ErrUnavailable) || !strings.Contains(o.err.Error(), c.err)):
				t.Errorf("error %v, want tunnel.ErrUnavailable with %q", o.err, c.err)
			}
			if c.took != 0 && o.took != c.took || c.took == 0 && o.took > 100*time.Millisecond {
				t.Errorf("the call took %v, want %v", o.took, c.took)
			}
			if atOnce != c.atOnce || later != c.later {
				t.Errorf("executed at the reply: %v, later: %v; want %v, %v", atOnce, later, c.atOnce, c.later)
			}
		})
	}
}

func TestHintsWakeWatchersOnceAndAfterEverySubscription(t *testing.T) {
	t.Parallel()
	var woken []time.Duration
	programs := toys(map[string]func(*Env){
		"w1": func(e *Env) {
			e.Watch(func() { woken = append(woken, e.cluster.engine.Elapsed().Truncate(time.Second)) }, lease.TopicGrants)
		},
		"w2": func(e *Env) {
			for _, at := range []time.Duration{10, 10, 20, 30} {
				e.After(at*time.Second, "hint", func() { e.Hint(lease.TopicGrants) })
			}
			e.After(25*time.Second, "hint", func() { e.Hint(lease.TopicStatus) })
		},
	})
	play(t, programs, []Fault{{At: Duration(28 * time.Second), Kind: Cut, Target: "w1", For: Duration(10 * time.Second)}}, time.Minute)
	if len(woken) != 4 {
		t.Errorf("woken at %v, want after the subscription, twice after hints (two at once are one), and after the next subscription", woken)
	}
	if slices.ContainsFunc(woken, func(at time.Duration) bool { return at >= 25*time.Second && at < 38*time.Second }) {
		t.Errorf("woken at %v: a hint of another topic, or through a cut connection", woken)
	}
}

func TestSilentSessionsTimeOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		protocol tunnel.Protocol
		fault    Fault
		lost     time.Duration // at the edge, after the fault; zero for never
		told     bool          // the worker learns of it
	}{
		{
			name: "edge path, QUIC", protocol: tunnel.QUIC, fault: Fault{Kind: HostEdge, Target: "h1", For: Duration(time.Minute)}, lost: quicIdle,
			told: true,
		},
		{
			name: "edge path, HTTP/2", protocol: tunnel.HTTP2, fault: Fault{Kind: HostEdge, Target: "h1", For: Duration(time.Minute)},
			lost: http2Idle, told: true,
		},
		{name: "edge path for a moment", protocol: tunnel.QUIC, fault: Fault{Kind: HostEdge, Target: "h1", For: Duration(4 * time.Second)}},
		{name: "edge path of another host", protocol: tunnel.QUIC, fault: Fault{Kind: HostEdge, Target: "h2", For: Duration(time.Minute)}},
		{
			name: "UDP, QUIC", protocol: tunnel.QUIC, fault: Fault{Kind: HostUDP, Target: "h1", For: Duration(time.Minute)}, lost: quicIdle,
			told: true,
		},
		{name: "UDP, HTTP/2", protocol: tunnel.HTTP2, fault: Fault{Kind: HostUDP, Target: "h1", For: Duration(time.Minute)}},
		{
			name: "worker paused", protocol: tunnel.QUIC, fault: Fault{Kind: Pause, Target: "w1", For: Duration(20 * time.Second)}, lost: quicIdle,
			told: true,
		},
		{name: "worker paused for a moment", protocol: tunnel.QUIC, fault: Fault{Kind: Pause, Target: "w1", For: Duration(3 * time.Second)}},
		{name: "worker killed, QUIC", protocol: tunnel.QUIC, fault: Fault{Kind: Kill, Target: "w1"}, lost: quicIdle},
		{name: "worker killed, HTTP/2", protocol: tunnel.HTTP2, fault: Fault{Kind: Kill, Target: "w1"}, lost: 10 * time.Millisecond},
		{name: "edge stopped", protocol: tunnel.QUIC, fault: Fault{Kind: EdgeStops, For: Duration(time.Minute)}, lost: quicIdle, told: true},
		{name: "edge drops", protocol: tunnel.QUIC, fault: Fault{Kind: EdgeDrops}, lost: time.Nanosecond, told: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var session *Session
			var cause error
			programs := toys(map[string]func(*Env){"w1": func(e *Env) {
				e.After(10*time.Second, "connect", func() {
					e.Dial(slotOf(connectorOne, 0), addrOf(0, 0), c.protocol, func(s *Session, err error) {
						if err != nil {
							t.Errorf("Dial: %v", err)
							return
						}
						session = s
						s.OnEnd(func(err error) { cause = err })
						s.Register(Registration{Slot: slotOf(connectorOne, 0), Epoch: 1}, rpcTimeout, func(string, error) {})
					})
				})
			}})
			c.fault.At = Duration(30 * time.Second)
			before := c.lost - 5*time.Millisecond
			early := play(t, programs, []Fault{c.fault}, 30*time.Second+max(before, 0))
			if lost := len(early.sessionsOf(tunnelOne, 0)) == 0; lost && before > 0 {
				t.Errorf("the session is gone %v after the fault, want %v", before, c.lost)
			}
			session, cause = nil, nil
			late := play(t, programs, []Fault{c.fault}, 100*time.Second)
			if got, want := len(late.sessionsOf(tunnelOne, 0)) == 0, c.lost > 0; got != want {
				t.Errorf("lost at the edge: %v, want %v", got, want)
			}
			if session == nil || (cause != nil) != c.told {
				t.Errorf("the worker was told %v, want an error: %v", cause, c.told)
			}
		})
	}
}

func TestDialAndRegistrationOfFaultyEdges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   Kind
		reason tunnel.Reason
		stage  string
		took   time.Duration
		retry  time.Duration
	}{
		{kind: EdgeRefuses, reason: tunnel.ReasonClosed, stage: "dial", took: 20 * time.Millisecond},
		{kind: EdgeHangs, reason: tunnel.ReasonDial, stage: "dial", took: quicDial},
		{kind: EdgeStops, reason: tunnel.ReasonDial, stage: "dial", took: quicDial},
		{kind: EdgeCloses, reason: tunnel.ReasonPeerClosed, stage: "register", took: 20 * time.Millisecond},
		{kind: EdgeDuplicate, reason: tunnel.ReasonDuplicate, stage: "register", took: 20 * time.Millisecond},
		{kind: EdgeFences, reason: tunnel.ReasonRefused, stage: "register", took: 20 * time.Millisecond, retry: admit.FencedRetry},
		{kind: EdgePostpones, reason: tunnel.ReasonRefused, stage: "register", took: 20 * time.Millisecond, retry: 10 * time.Hour},
		{kind: EdgeRejects, reason: tunnel.ReasonRefused, stage: "register", took: 20 * time.Millisecond},
		{kind: EdgeFlaps, reason: tunnel.ReasonPeerClosed, stage: "session"},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			var stage string
			var failure error
			var took time.Duration
			programs := toys(map[string]func(*Env){"w1": func(e *Env) {
				e.After(20*time.Second, "connect", func() {
					began := e.Now()
					end := func(where string, err error) {
						if err != nil && failure == nil {
							stage, failure, took = where, err, e.Now().Sub(began)
						}
					}
					e.Dial(slotOf(connectorOne, 0), addrOf(0, 0), tunnel.QUIC, func(s *Session, err error) {
						end("dial", err)
						if err != nil {
							return
						}
						began = e.Now()
						s.Register(Registration{Slot: slotOf(connectorOne, 0), Epoch: 1}, rpcTimeout, func(_ string, err error) {
							end("register", err)
							began = e.Now()
							s.OnEnd(func(err error) { end("session", err) })
						})
					})
				})
			}})
			play(t, programs, []Fault{{At: Duration(15 * time.Second), Kind: c.kind, By: Duration(10 * time.Hour), For: Duration(time.Minute)}},
				time.Minute)
			var ce *tunnel.ConnError
			if !errors.As(failure, &ce) || ce.Reason != c.reason || stage != c.stage || ce.RetryAfter != c.retry {
				t.Fatalf("%v failed with %v (%+v), want reason %q at %s, retry after %v", stage, failure, ce, c.reason, c.stage, c.retry)
			}
			if took != c.took {
				t.Errorf("failed after %v, want %v", took, c.took)
			}
		})
	}
}

func TestProcessesAreStoppedKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind      Kind
		instances string // the lives that were started
		alive     int
	}{
		{Pause, "w1", 1},
		{Kill, "w1", 0},
		{Restart, "w1 w1.2", 1},
		{Double, "w1 w1.2", 1},
		{DrainWorker, "w1 w1.2", 1},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			var started []string
			programs := toys(map[string]func(*Env){"w1": func(e *Env) { started = append(started, e.Instance()) }})
			cl := play(t, programs, []Fault{{At: Duration(30 * time.Second), Kind: c.kind, Target: "w1", For: Duration(5 * time.Second)}},
				time.Minute)
			if got := strings.Join(started, " "); got != c.instances {
				t.Errorf("lives %q, want %q", got, c.instances)
			}
			if got := len(cl.of("w1")); got != c.alive {
				t.Errorf("%d processes w1 at the end, want %d", got, c.alive)
			}
		})
	}
	cl := play(t, toys(nil), []Fault{
		{At: Duration(30 * time.Second), Kind: Join, Target: "h9", N: 3},
		{At: Duration(40 * time.Second), Kind: Rolling, By: Duration(time.Second)},
	}, time.Minute)
	if n := len(cl.alive(RoleWorker)); n != 3 || cl.lives["w13"] != 2 || cl.lives["w1"] != 2 {
		t.Errorf("%d workers after one joined and all were restarted, lives %v", n, cl.lives)
	}
}

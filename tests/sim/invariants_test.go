package sim

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// breach is a set of programs that break an invariant.
type breach struct {
	workers map[string]func(*Env)
	plan    []Fault
	until   time.Duration
}

// alone is a breach by worker w1.
func alone(f func(e *Env)) breach {
	return breach{workers: map[string]func(*Env){"w1": f}, until: 30 * time.Second}
}

// breaches has programs that break each invariant.
func breaches() map[Invariant]breach {
	repeat := func(n int, f func()) {
		for range n {
			f()
		}
	}
	attempts := func(n, each int) func(e *Env) {
		return func(e *Env) {
			e.After(5*time.Second, "storm", func() {
				for i := range n {
					connect(e, slotOf(tunnel.ConnectorID{0: byte(i / each)}, 0), tunnel.Epoch(i+1), addrOf(0, 0), nil)
				}
			})
		}
	}
	return map[Invariant]breach{
		OneHolder: {workers: map[string]func(*Env){
			"w1": func(e *Env) { serve(e, connectorOne) },
			"w2": func(e *Env) {
				e.After(20*time.Second, "second holder", func() { connect(e, slotOf(connectorOne, 0), 1, addrOf(1, 1), nil) })
			},
		}, until: 30 * time.Second},
		NewerDrains: {workers: map[string]func(*Env){
			"w1": func(e *Env) { serve(e, connectorOne) },
			"w2": func(e *Env) {
				e.After(20*time.Second, "newer holder", func() { connect(e, slotOf(connectorOne, 0), 2, addrOf(1, 1), nil) })
			},
		}, until: 100 * time.Second},
		OneGrant: alone(func(e *Env) {
			for _, worker := range []string{"w1", "w2"} {
				r, _ := command.Grant(lease.Grant{Slot: slotOf(connectorOne, 0), Worker: tunnel.WorkerID(worker), Edge: addrOf(0, 0)}, 0, time.Second)
				e.cluster.checker.granted(e, r.Command, []any{"ok", "7", "0"}, nil)
			}
		}),
		OwnAddress: {workers: map[string]func(*Env){
			"w1": func(e *Env) {
				e.After(4*time.Second, "serve", func() { connect(e, slotOf(connectorOne, 0), 1, addrOf(0, 0), nil) })
				e.After(6*time.Second, "serve", func() { connect(e, slotOf(connectorOne, 1), 1, addrOf(0, 0), nil) })
			},
		}, until: time.Minute},
		TwoRegions: {workers: map[string]func(*Env){
			"w1": func(e *Env) {
				e.After(4*time.Second, "serve", func() { connect(e, slotOf(connectorOne, 0), 1, addrOf(0, 0), nil) })
				e.After(6*time.Second, "serve", func() { connect(e, slotOf(connectorOne, 1), 1, addrOf(0, 1), nil) })
			},
		}, until: 2 * time.Minute},
		GateFirst: alone(func(e *Env) {
			e.After(4*time.Second, "serve", func() { connect(e, slotOf(connectorOne, 1), 1, addrOf(0, 0), nil) })
		}),
		LastSession: alone(func(e *Env) {
			e.After(4*time.Second, "serve", func() {
				connect(e, slotOf(connectorOne, 0), 1, addrOf(0, 0), func(s *Session) { s.Unregister(rpcTimeout, func(error) {}) })
			})
		}),
		HealthyStays: alone(func(e *Env) {
			e.After(4*time.Second, "grant", func() {
				planned(e, slotOf(connectorOne, 0), "w1", addrOf(0, 0), 0, "free", func(g lease.Grant, _ error) {
					connect(e, g.Slot, g.Epoch, g.Edge, func(*Session) {
						planned(e, g.Slot, "w2", addrOf(0, 1), g.Epoch, "gone", func(lease.Grant, error) {})
					})
				})
			})
		}),
		ServedAgain: {
			workers: map[string]func(*Env){"w1": func(e *Env) { serve(e, connectorOne) }},
			plan:    []Fault{{At: Duration(20 * time.Second), Kind: EdgeDrops}}, until: 70 * time.Second,
		},
		Progress: {
			workers: map[string]func(*Env){"w1": func(e *Env) { serve(e, connectorOne) }},
			plan: []Fault{
				{At: Duration(20 * time.Second), Kind: EdgeDrops}, {
					At: Duration(21 * time.Second), Kind: Pause, Target: "d1",
					For: Duration(time.Second),
				},
			}, until: 150 * time.Second,
		},
		ConnectorBudget:  alone(attempts(8, 8)),
		DeploymentBudget: alone(attempts(70, 3)),
		Flap:             alone(func(e *Env) { repeat(flapCount+1, func() { e.Observe(Fact{Text: "lead changed", Subject: "true"}) }) }),
		FlapLead: alone(func(e *Env) {
			for i := range 2*flapCount + 2 {
				e.After(time.Duration(i)*2*time.Second, "lead", func() {
					Call(e, command.TakeLead("supervisor", fmt.Sprint("s", i%2), time.Millisecond), func(bool, error) {})
				})
			}
		}),
		FlapGrant: alone(func(e *Env) {
			var again func(g lease.Grant, err error)
			again = func(g lease.Grant, err error) {
				if err == nil {
					planned(e, g.Slot, "w1", addrOf(0, 0), g.Epoch, "expired", again)
				}
			}
			again(lease.Grant{Slot: slotOf(connectorOne, 0)}, nil)
		}),
		OneConnector: {workers: map[string]func(*Env){
			"w1": func(e *Env) { serve(e, connectorOne) },
			"w2": func(e *Env) {
				e.After(20*time.Second, "another id", func() { connect(e, slotOf(connectorTwo, 0), 9, addrOf(1, 1), nil) })
			},
		}, until: 30 * time.Second},
		LeaderGrants: alone(func(e *Env) {
			Call(e, command.TakeLead("supervisor", "s9", time.Minute), func(bool, error) {})
			e.After(10*time.Second, "grant", func() {
				planned(e, slotOf(connectorOne, 0), "w1", addrOf(0, 0), 0, "free", func(lease.Grant, error) {})
			})
		}),
		OldWrites: alone(func(e *Env) {
			k := e.cluster.checker
			verify := k.watch(command.Command{Script: "release", Keys: []string{"cv:{x/y}:slots"}, Args: []string{"0", "w1", "7"}})
			e.cluster.server.plain("hset", "cv:{x/y}:slots", "0:deadline", "0")
			verify()
		}),
		EpochsGrow: alone(func(e *Env) {
			for _, epoch := range []string{"7", "6"} {
				r, _ := command.Grant(lease.Grant{Slot: slotOf(connectorOne, 0), Worker: "w1", Edge: addrOf(0, 0)}, 0, time.Second)
				e.cluster.checker.granted(e, r.Command, []any{"ok", epoch, "0"}, nil)
			}
		}),
		OneAddress: alone(func(e *Env) {
			k := e.cluster.checker
			verify := k.watch(command.Command{Script: "release", Keys: []string{"cv:{x/y}:slots"}, Args: []string{"0", "w1", "7"}})
			for _, index := range []string{"0", "1"} {
				e.cluster.server.plain("hset", "cv:{x/y}:slots", index+":deadline", "9999999999999", index+":edge", "198.51.100.1:7844")
			}
			verify()
		}),
		PausedEnds: {
			workers: map[string]func(*Env){"w1": func(e *Env) { serve(e, connectorOne) }},
			plan:    []Fault{{At: Duration(20 * time.Second), Kind: WishPaused, Target: "t1", For: Duration(2 * time.Minute)}},
			until:   100 * time.Second,
		},
		CommandOnce: alone(func(e *Env) {
			for _, epoch := range []string{"7", "8"} {
				g := lease.Grant{Slot: slotOf(connectorOne, 0), Worker: "w1", Edge: addrOf(0, 0), Command: "c1"}
				r, _ := command.Grant(g, 0, time.Second)
				e.cluster.checker.checkCommand(r.Command, []any{"ok", epoch, "0"})
			}
		}),
		NoDefect: alone(func(e *Env) { e.Defect(errors.New("unexpected event")) }),
		NoPanic:  alone(func(*Env) { panic("out of range") }),
	}
}

func TestEveryInvariantCanBreak(t *testing.T) {
	t.Parallel()
	list := breaches()
	for _, i := range Invariants() {
		t.Run(string(i), func(t *testing.T) {
			t.Parallel()
			b, found := list[i]
			if !found {
				t.Fatal("no program breaks it: the check may be one that cannot fail")
			}
			if i == NoPanic { // Run alone catches panics
				r := Run(1, Options{Programs: toys(b.workers), Plan: []Fault{}})
				if _, found := r.Found(i); !found {
					t.Errorf("not found; violations %v", r.Violations)
				}
				return
			}
			c := play(t, toys(b.workers), b.plan, b.until)
			if !c.found(i) {
				t.Errorf("not found; violations %v", c.checker.violations)
			}
		})
	}
}

func TestAWellBehavedWorkerBreaksNothing(t *testing.T) {
	t.Parallel()
	c := play(t, toys(map[string]func(*Env){"w1": func(e *Env) { serve(e, connectorOne) }}), nil, 10*time.Minute)
	if len(c.checker.violations) > 0 {
		t.Errorf("violations %v, want none", c.checker.violations)
	}
	for i := range tunnel.ConnIndex(2) {
		if list := c.sessionsOf(tunnelOne, i); len(list) != 1 || !list[0].serving() {
			t.Errorf("index %d has the sessions %s, want one that serves", i, describe(list))
		}
	}
}

// TestNoPlaceIsAnExcuse holds that a slot need not be served while nothing could serve it.
func TestNoPlaceIsAnExcuse(t *testing.T) {
	t.Parallel()
	minute := Duration(5 * time.Minute)
	for _, plan := range [][]Fault{
		{{Kind: EdgeHangs}, {Kind: EdgeDrops}},
		{{Kind: ReadOnly}, {Kind: EdgeDrops}},
		{{Kind: Cut}, {Kind: EdgeDrops}},
		{{Kind: ShardDown, Target: "t1"}, {Kind: EdgeDrops}},
		{{Kind: Pause, Target: "s1"}, {Kind: EdgeDrops}},
		{{Kind: HostEdge, Target: "h1"}, {Kind: HostEdge, Target: "h2"}},
		{{Kind: Pause, Target: "w1"}, {Kind: Pause, Target: "w2"}},
	} {
		plan = slices.Clone(plan)
		for i := range plan {
			plan[i].At = Duration(20*time.Second) + Duration(i)
			if plan[i].Kind != EdgeDrops {
				plan[i].For = minute
			}
		}
		c := play(t, toys(map[string]func(*Env){"w1": func(e *Env) { serve(e, connectorOne) }}), plan, 4*time.Minute)
		if c.found(ServedAgain) || c.found(Progress) {
			t.Errorf("%v: violations %v, want none: nothing could serve the slots", plan, c.checker.violations)
		}
	}
}

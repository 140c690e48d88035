package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// workerOf is the running worker with the id, or nil.
func workerOf(c *Cluster, id string) *Env {
	for _, e := range c.alive(RoleWorker) {
		if e.id == id {
			return e
		}
	}
	return nil
}

// connectedSlots counts the connected holders of a worker.
func connectedSlots(e *Env) (n int) {
	for _, h := range e.actor.(Holding).Holders() {
		if h.Phase == lease.PhaseConnected {
			n++
		}
	}
	return n
}

// sessionsOf counts the sessions that the edges have of a process, and those of them that are registered.
func sessionsOf(c *Cluster, e *Env) (open, registered int) {
	for _, edge := range c.edges {
		for _, s := range edge.sessions {
			if s.env != e {
				continue
			}
			open++
			if s.registered() {
				registered++
			}
		}
	}
	return open, registered
}

// until runs a cluster to a time since its start.
func until(c *Cluster, at time.Duration) {
	for c.engine.Step(at) {
		c.checker.step()
	}
}

// TestWorkersServeAndLeave: two workers share the slots; one that is asked to end hands its slots over, and exits.
func TestWorkersServeAndLeave(t *testing.T) {
	t.Parallel()
	trace := engine.NewTrace(true)
	c := newCluster(1, small(), trace, Options{Programs: product(), Interpreter: memstore.NewInterpreter()})
	want := int(c.spec.Workers[0].Connections)
	until(c, 40*time.Second)
	first, second := workerOf(c, "w1"), workerOf(c, "w2")
	if a, b := connectedSlots(first), connectedSlots(second); a+b != want {
		t.Fatalf("after 40 s w1 has %d connected slots and w2 %d, want %d together\n%s", a, b, want, trace.Text())
	}
	leaving, staying := first, second
	if connectedSlots(first) == 0 {
		leaving, staying = second, first
	}
	c.stop(leaving)
	until(c, 80*time.Second)
	if workerOf(c, leaving.id) != nil {
		t.Errorf("%s runs 40 s after it was asked to end", leaving.id)
	}
	if n := connectedSlots(staying); n != want {
		t.Errorf("%s has %d connected slots, want all %d", staying.id, n, want)
	}
	if open, _ := sessionsOf(c, leaving); open != 0 {
		t.Errorf("%s left %d sessions open", leaving.id, open)
	}
	if open, registered := sessionsOf(c, staying); open != want || registered != want {
		t.Errorf("%s has %d sessions, %d registered, want %d", staying.id, open, registered, want)
	}
}

// regrant is a supervisor that grants slot 0 to w1 at one address, and before the dial is complete at another one.
func regrant(gap time.Duration) func(SupervisorSpec) Actor {
	return func(SupervisorSpec) Actor {
		return &toy{start: func(e *Env) {
			e.After(8*time.Second, "grant", func() {
				Call(e, command.Connector(tunnelOne), func(connector tunnel.ConnectorID, err error) {
					if err != nil {
						e.Defect(fmt.Errorf("read connector: %w", err))
						return
					}
					give := func(at tunnel.EdgeAddr, expect tunnel.Epoch, then func(tunnel.Epoch)) {
						r, err := command.Grant(lease.Grant{Slot: slotOf(connector, 0), Worker: "w1", Edge: at}, expect, lease.LeaseTTL)
						if err != nil {
							e.Defect(err)
							return
						}
						Call(e, r, func(g lease.Grant, err error) {
							if err != nil {
								e.Defect(err)
								return
							}
							e.Hint(lease.TopicGrants)
							then(g.Epoch)
						})
					}
					give(addrOf(0, 0), 0, func(epoch tunnel.Epoch) {
						e.After(gap, "grant again", func() { give(addrOf(1, 0), epoch, func(tunnel.Epoch) {}) })
					})
				})
			})
		}}
	}
}

// TestLateDialIsClosed: a dial that was given up for a newer grant is complete all the same; its session does not stay.
func TestLateDialIsClosed(t *testing.T) {
	t.Parallel()
	late := 0
	interpreter := memstore.NewInterpreter()
	for seed := range uint64(40) {
		p := product()
		p.Supervisor = regrant(15 * time.Millisecond)
		trace := engine.NewTrace(true)
		c := newCluster(seed, small(), trace, Options{Programs: p, Interpreter: interpreter})
		until(c, 20*time.Second)
		w := workerOf(c, "w1")
		if n := connectedSlots(w); n != 1 {
			t.Fatalf("seed %d: %d connected slots, want 1\n%s", seed, n, trace.Text())
		}
		if open, registered := sessionsOf(c, w); open != 1 || registered != 1 {
			t.Errorf("seed %d: %d sessions, %d registered, want the one of the newer grant", seed, open, registered)
		}
		late += strings.Count(trace.Text(), "dial goes on after it was given up")
	}
	if late == 0 {
		t.Error("no dial was complete after it was given up: the test shows nothing")
	}
}

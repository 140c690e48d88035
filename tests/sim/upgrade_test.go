package sim

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// TestUpgrade: deployments of former versions, whose workers keep a lease for each slot, or mark no tunnels, are upgraded process by
// process: the supervisors first, the workers first, or one after the other. No invariant breaks, and in the end every index is served.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"supervisors first": {"s1", "s2", "w1", "w2"},
		"workers first":     {"w1", "w2", "s1", "s2"},
		"in turn":           {"w1", "s1", "w2", "s2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			interpreter := memstore.NewInterpreter()
			for seed := range uint64(8) {
				spec := small()
				for i := range spec.Workers {
					spec.Workers[i].Legacy, spec.Workers[i].Unmarked = seed%2 == 0, true
				}
				second := spec.Supervisors[0]
				second.ID, second.Host = "s2", "hs2"
				spec.Supervisors = append(spec.Supervisors[:1:1], second)
				for i := range spec.Supervisors { // of the version before the present one, or of an older one
					spec.Supervisors[i].Legacy, spec.Supervisors[i].Alone = seed%4 < 2, true
				}
				trace := engine.NewTrace(true)
				c := newCluster(seed, spec, trace, Options{Programs: product(), Interpreter: interpreter})
				for i, id := range order {
					c.engine.After(time.Duration(40+40*i)*time.Second, "upgrade", func() { c.replace(id) })
				}
				until(c, 4*time.Minute)
				if len(c.checker.violations) > 0 {
					t.Fatalf("seed %d: %v\n%s", seed, c.checker.violations[0], trace.Text())
				}
				want, got := int(spec.Workers[0].Connections), 0
				for _, e := range c.alive(RoleWorker) {
					got += connectedSlots(e)
				}
				if got != want {
					t.Fatalf("seed %d: %d connected slots at the end, want %d\n%s", seed, got, want, trace.Text())
				}
			}
		})
	}
}

// TestDowngrade: supervisors that share the tunnels are replaced by those of a former version, of which one leads, and back.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	interpreter := memstore.NewInterpreter()
	for seed := range uint64(8) {
		spec := small()
		spec.share(2)
		trace := engine.NewTrace(true)
		c := newCluster(seed, spec, trace, Options{Programs: product(), Interpreter: interpreter})
		for i, id := range []string{"s1", "s2", "s1", "s2"} {
			c.engine.After(time.Duration(40+40*i)*time.Second, "replace", func() {
				for _, e := range c.of(id) {
					c.stop(e)
				}
				for n := range c.spec.Supervisors {
					if c.spec.Supervisors[n].ID == id {
						c.spec.Supervisors[n].Alone = i < 2
					}
				}
				c.relaunch(id)
			})
		}
		until(c, 4*time.Minute)
		if len(c.checker.violations) > 0 {
			t.Fatalf("seed %d: %v\n%s", seed, c.checker.violations[0], trace.Text())
		}
		got := 0
		for _, e := range c.alive(RoleWorker) {
			got += connectedSlots(e)
		}
		if want := len(spec.Tunnels) * int(spec.Workers[0].Connections); got != want {
			t.Fatalf("seed %d: %d connected slots at the end, want %d\n%s", seed, got, want, trace.Text())
		}
	}
}

// TestSupervisorIsKilled: the tunnels of a supervisor that is killed are planned for by the others within the lease: a worker that is
// killed with it is replaced as soon as without it.
func TestSupervisorIsKilled(t *testing.T) {
	t.Parallel()
	interpreter := memstore.NewInterpreter()
	for seed := range uint64(6) {
		spec := small()
		spec.share(3)
		trace := engine.NewTrace(true)
		c := newCluster(seed, spec, trace, Options{Programs: product(), Interpreter: interpreter})
		until(c, time.Minute)
		owner := c.checker.leaders["t1"].holder
		c.kill(c.of(owner)[0])
		c.kill(workerOf(c, "w1"))
		const bound = lease.WorkerTTL + pass.LeadTTL + 8*time.Second
		until(c, time.Minute+bound)
		got := connectedSlots(workerOf(c, "w2"))
		if want := len(spec.Tunnels) * int(spec.Workers[0].Connections); got != want || c.checker.leaders["t1"].holder == owner {
			t.Fatalf("seed %d: %d connected slots %v after a supervisor and a worker were killed, want %d; %s plans\n%s", seed, got, bound, want,
				c.checker.leaders["t1"].holder, trace.Text())
		}
		if len(c.checker.violations) > 0 {
			t.Fatalf("seed %d: %v\n%s", seed, c.checker.violations[0], trace.Text())
		}
	}
}

// TestSecondProcessWithOneID: it ends soon, and the first one serves on.
func TestSecondProcessWithOneID(t *testing.T) {
	t.Parallel()
	trace := engine.NewTrace(true)
	c := newCluster(3, small(), trace, Options{Programs: product(), Interpreter: memstore.NewInterpreter()})
	until(c, 40*time.Second)
	first := workerOf(c, "w1")
	held := connectedSlots(first)
	second := c.launch("w1")
	until(c, 55*time.Second)
	if second.process.Alive() || !first.process.Alive() || connectedSlots(first) != held || held == 0 {
		t.Errorf("the second process runs: %v, the first: %v, with %d connected slots of %d\n%s", second.process.Alive(), first.process.Alive(),
			connectedSlots(first), held, trace.Text())
	}
	// One that was killed does not keep its id.
	c.kill(first)
	third := c.launch("w1")
	until(c, 80*time.Second)
	if !third.process.Alive() || !third.actor.(*worker).started {
		t.Errorf("after the first process was killed, the next one does not run\n%s", trace.Text())
	}
}

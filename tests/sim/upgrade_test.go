package sim

import (
	"testing"
	"time"

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
				for i := range spec.Supervisors {
					spec.Supervisors[i].Legacy = true
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

package sim

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// largest is how long a large deployment may take to be served, and largeSteady how long it is measured then.
const (
	largest     = 10 * time.Minute
	largeSteady = 5 * time.Minute
)

var (
	largeWorkers     = flag.Int("large.workers", 0, "workers of TestLargeDeployment, which has ten times as many tunnels; 0 for few")
	largeSupervisors = flag.Int("large.supervisors", 10, "supervisors of TestLargeDeployment with -large.workers")
)

// large is a deployment with so many of each part, a round trip to the store of 5 ms, and workers that serve all tunnels.
func large(tunnels, workers, supervisors int) Spec {
	spec := small()
	spec.Tunnels, spec.Connections, spec.StoreLatency = nil, 4, 2500*time.Microsecond
	var refs []fleet.TunnelRef
	for i := range tunnels {
		id := tunnel.ID{0: byte(i), 1: byte(i >> 8), 15: 1}
		spec.Tunnels = append(spec.Tunnels, id)
		refs = append(refs, fleet.TunnelRef{ID: id, Pool: poolName})
	}
	worker, supervisor := spec.Workers[0], spec.Supervisors[0]
	spec.Workers, spec.Supervisors = nil, nil
	for i := range workers {
		w := worker
		w.ID, w.Host = fmt.Sprint("w", i), fmt.Sprint("h", i)
		w.Tunnels, w.Connections, w.Capacity, w.Lazy, w.Unmarked = refs, 4, 256, true, false
		spec.Workers = append(spec.Workers, w)
	}
	for i := range supervisors {
		s := supervisor
		s.ID, s.Host, s.Connections = fmt.Sprint("s", i), fmt.Sprint("hs", i), 4
		spec.Supervisors = append(spec.Supervisors, s)
	}
	return spec
}

// TestLargeDeployment: many workers with the credentials of many tunnels serve all of them after a cold start, and cost the store little
// then, however many pairs of a worker and a tunnel there are. The times are those of the virtual clock.
func TestLargeDeployment(t *testing.T) {
	t.Parallel()
	n, supervisors := testkit.LongCount(10, 25), testkit.LongCount(2, 4)
	if *largeWorkers > 0 {
		n, supervisors = *largeWorkers, *largeSupervisors
	}
	spec := large(10*n, n, supervisors)
	c := newCluster(5, spec, engine.NewTrace(false), Options{Programs: product(), Interpreter: memstore.NewInterpreter()})
	want := len(spec.Tunnels) * spec.Connections
	connected := func() (n int) {
		for _, e := range c.alive(RoleWorker) {
			n += connectedSlots(e)
		}
		return n
	}
	run := func(until time.Duration) {
		for c.engine.Step(until) { // without the invariants, which are checked in small deployments
		}
	}
	served := time.Duration(0)
	for connected() < want {
		if served += time.Second; served > largest {
			t.Fatalf("%d of %d slots connected after %v", connected(), want, largest)
		}
		run(served)
	}
	calls := func() int { return c.calls[RoleWorker] + c.calls[RoleSupervisor] }
	t.Logf("%d tunnels, %d workers, %d supervisors: served after %v with %d calls",
		len(spec.Tunnels), len(spec.Workers), len(spec.Supervisors), served, calls())
	run(served + time.Minute)
	workers, planners := c.calls[RoleWorker], c.calls[RoleSupervisor]
	run(served + time.Minute + largeSteady)
	rate := func(n int) float64 { return float64(n) / largeSteady.Seconds() }
	slot := rate(calls()-workers-planners) / float64(want)
	t.Logf("steady: %.1f calls a second by workers and %.1f by supervisors, %.4f for each slot", rate(c.calls[RoleWorker]-workers),
		rate(c.calls[RoleSupervisor]-planners), slot)
	if slot > 0.05 {
		t.Errorf("%.4f calls a second for each slot, want at most 0.05", slot)
	}
	if n := connected(); n != want {
		t.Errorf("%d slots connected at the end, want %d", n, want)
	}
	for _, v := range c.checker.violations {
		t.Logf("broken: %v", v)
	}
}

package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// TestSteadyCostsLittle: where nothing happens, workers and supervisors together make few calls to the store, whatever number of tunnels
// the workers could serve: at most 0.05 a second for each slot.
func TestSteadyCostsLittle(t *testing.T) {
	t.Parallel()
	if rate := steadyRate(t, 1); rate > 0.05 {
		t.Errorf("%.4f calls a second for each slot, want at most 0.05", rate)
	}
	// Each supervisor looks at its lease and at the workers once a second, whatever it plans for.
	if rate := steadyRate(t, 3); rate > 0.05+2*2.5/80 {
		t.Errorf("with three supervisors %.4f calls a second for each slot, want at most 2.5 a second more for each of the others", rate)
	}
}

// steadyRate is how many calls a second 2 workers with 20 tunnels of 4 connections and so many supervisors make, for each slot.
func steadyRate(t *testing.T, supervisors int) float64 {
	t.Helper()
	spec := small()
	first := spec.Supervisors[0]
	spec.Supervisors = nil
	for i := range supervisors {
		first.ID, first.Host = fmt.Sprint("s", i+1), fmt.Sprint("hs", i+1)
		spec.Supervisors = append(spec.Supervisors, first)
	}
	spec.Tunnels, spec.Connections = nil, 4
	var refs []fleet.TunnelRef
	for i := range 20 {
		id := tunnel.ID{0: byte(i + 1), 15: 1}
		spec.Tunnels = append(spec.Tunnels, id)
		refs = append(refs, fleet.TunnelRef{ID: id, Pool: poolName})
	}
	for i := range spec.Workers {
		spec.Workers[i].Tunnels, spec.Workers[i].Connections = refs, 4
	}
	c := newCluster(5, spec, engine.NewTrace(false), Options{Programs: product(), Interpreter: memstore.NewInterpreter()})
	until(c, 3*time.Minute)
	slots := 0
	for _, e := range c.alive(RoleWorker) {
		slots += connectedSlots(e)
	}
	if want := len(spec.Tunnels) * spec.Connections; slots != want {
		t.Fatalf("%d connected slots, want %d", slots, want)
	}
	before, planned, seconds := c.calls[RoleWorker], c.calls[RoleSupervisor], 600
	until(c, 3*time.Minute+time.Duration(seconds)*time.Second)
	workers, planners := float64(c.calls[RoleWorker]-before)/float64(seconds), float64(c.calls[RoleSupervisor]-planned)/float64(seconds)
	rate := workers + planners
	t.Logf("%d workers, %d tunnels, %d slots: %.2f calls a second by workers and %.2f by %d supervisors, %.4f a slot", len(spec.Workers),
		len(spec.Tunnels), slots, workers, planners, len(spec.Supervisors), rate/float64(slots))
	return rate / float64(slots)
}

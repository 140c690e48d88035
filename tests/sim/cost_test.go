package sim

import (
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
	spec := small()
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
	t.Logf("%d workers, %d tunnels, %d slots: %.2f calls a second by workers and %.2f by %d supervisor, %.4f a slot", len(spec.Workers),
		len(spec.Tunnels), slots, workers, planners, len(spec.Supervisors), rate/float64(slots))
	if rate/float64(slots) > 0.05 {
		t.Errorf("%.4f calls a second for each slot, want at most 0.05", rate/float64(slots))
	}
}

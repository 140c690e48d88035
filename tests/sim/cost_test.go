package sim

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// TestSteadyWorkersCostLittle: where nothing happens, workers make few calls to the store, whatever number of tunnels they could serve:
// at most 0.05 a second for each slot.
func TestSteadyWorkersCostLittle(t *testing.T) {
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
	rate := float64(c.calls[RoleWorker]-before) / float64(seconds)
	t.Logf("%d workers, %d tunnels, %d slots: %.2f calls a second by workers, %.4f a slot; %.1f by the supervisor", len(spec.Workers),
		len(spec.Tunnels), slots, rate, rate/float64(slots), float64(c.calls[RoleSupervisor]-planned)/float64(seconds))
	if rate/float64(slots) > 0.05 {
		t.Errorf("%.4f calls a second for each slot, want at most 0.05", rate/float64(slots))
	}
}

package sim

import (
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// plantedSeeds is how many seeds a planted fault may need to be found.
const plantedSeeds = 500

// patched is a script with a part of its text replaced.
func patched(t *testing.T, script string, pairs ...string) map[string]string {
	t.Helper()
	text := command.Source(script)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("script %s does not contain %q any more", script, pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return map[string]string{script: text}
}

// withWorker is the product with other workers.
func withWorker(plant func(w *worker)) *Programs {
	p := product()
	p.Worker = func(s WorkerSpec) Actor {
		w := &worker{spec: s}
		plant(w)
		return w
	}
	return p
}

// drainAtFirstSight makes a holder believe that every newer one is connected.
func drainAtFirstSight(w *worker) {
	w.hooks.send = func(e lease.Event) lease.Event {
		if e.Kind == lease.EventNewer {
			e.Newer.Live, e.Newer.Status.State = true, lease.StateConnected
		}
		return e
	}
}

// ignoreLastEpoch makes a keeper take the grant of every record that names its worker, whether it had it before or not.
func ignoreLastEpoch(w *worker) {
	w.hooks.renewed = func(k *keeper, records []lease.Record) {
		for _, r := range records {
			for _, h := range k.machine.Holders() {
				v := k.view(h.Holder)
				if h.Slot == r.Slot && r.Live && r.Worker == tunnel.WorkerID(w.spec.ID) && v.Grant.Epoch == r.Epoch && v.Phase < lease.PhaseConnected {
					k.holders[h.Holder].step(hold.Sent{Event: lease.Event{Kind: lease.EventGranted, Grant: r.Grant, Retries: r.Status.Retries}})
				}
			}
		}
	}
}

// neverUnsettled makes supervisors believe that the store has been available for long.
func neverUnsettled() *Programs {
	p := product()
	p.Supervisor = func(spec SupervisorSpec) Actor { return &supervisor{spec: spec, settle: 1} }
	return p
}

// TestPlantedFaultsAreFound plants faults that must never be there, and expects that the seeds find each of them: an invariant breaks
// that does not break in the same seed without the fault.
func TestPlantedFaultsAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		scripts  map[string]string
		programs *Programs
		caught   []Invariant
		only     []Kind // restricts the faults, for what needs a rare moment
		first    uint64 // a seed that is known to find it, tried before the others
	}{
		{
			// The fence refuses what a former supervisor decided, so what is left to the epoch are late grants of one that still plans for the
			// tunnel: it had no reply, read the slots again, and granted once more.
			name: "no compare-and-set in grant", first: 52,
			scripts: patched(t, "grant", "if tonumber(stored) ~= tonumber(ARGV[6]) then", "if false then"), caught: []Invariant{OldWrites},
			only: []Kind{Late, Kill},
		},
		{
			name: "epoch without time", first: 26,
			scripts: patched(t, "grant", "math.max(tonumber(stored) + 1, tonumber(ARGV[16]) + 1, now)", "tonumber(stored) + 1"),
			caught:  []Invariant{EpochsGrow, OneGrant},
		},
		{
			name: "epoch without stored + 1", first: 216,
			scripts: patched(t, "grant", "math.max(tonumber(stored) + 1, tonumber(ARGV[16]) + 1, now)", "now"),
			caught:  []Invariant{EpochsGrow, OneGrant},
		},
		{
			name:    "no gate",
			scripts: map[string]string{"proved": "return 1"}, caught: []Invariant{GateFirst},
		},
		{
			name: "no bucket", first: 3,
			scripts: patched(t, "grant", "math.max(now, full - (burst - 1) * interval)", "now"), caught: []Invariant{ConnectorBudget},
		},
		{
			name: "renewal accepts another epoch", first: 1,
			scripts: patched(t, "renew", "if epoch < have or ", "if "), caught: []Invariant{OldWrites},
		},
		{
			name: "drain at the first sight of a newer epoch", first: 1,
			programs: withWorker(drainAtFirstSight), caught: []Invariant{LastSession},
		},
		{
			name: "last epoch ignored", first: 1,
			programs: withWorker(ignoreLastEpoch), caught: []Invariant{ServedAgain, Progress},
		},
		{
			name: "unsettled ignored", first: 2,
			programs: neverUnsettled(), caught: []Invariant{HealthyStays}, only: []Kind{Cut, Loading, LoseRequest},
		},
		{
			name: "unfenced release", first: 1,
			scripts: patched(t, "release", "have > epoch", "false", " or have < epoch and stored[2] ~= ARGV[2] then", " then",
				"stored[2] ~= ARGV[2]", "false"), caught: []Invariant{OldWrites},
		},
		{
			name: "retries not inherited", first: 166,
			scripts: patched(t, "grant", "slot .. ':status', ARGV[9])", "slot .. ':status', ARGV[9], slot .. ':retries', '0')"),
			caught:  []Invariant{ConnectorBudget, FlapGrant},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			interpreter := memstore.NewInterpreter()
			for seed := range uint64(plantedSeeds) {
				switch seed { // the known one comes first
				case 0:
					seed = c.first
				case c.first:
					seed = 0
				}
				o := Options{Scripts: c.scripts, Programs: c.programs, Interpreter: interpreter, Only: c.only, Until: c.caught[0]}
				r := Run(seed, o)
				found := broken(&r, c.caught)
				if len(found) == 0 {
					continue
				}
				clean := Run(seed, Options{Interpreter: interpreter, Only: c.only})
				if before := broken(&clean, c.caught); slices.ContainsFunc(found, func(i Invariant) bool { return !slices.Contains(before, i) }) {
					t.Logf("%s: found by seed %d: %v", c.name, seed, found)
					if seed != c.first {
						t.Logf("seed %d does not find it any more; set first to %d, so that the test does not search", c.first, seed)
					}
					return
				}
			}
			t.Errorf("not found in %d seeds; expected one of %v", plantedSeeds, c.caught)
		})
	}
}

// broken lists those of the invariants that a run broke.
func broken(r *Result, among []Invariant) []Invariant {
	var list []Invariant
	for _, i := range among {
		if _, found := r.Found(i); found {
			list = append(list, i)
		}
	}
	return list
}

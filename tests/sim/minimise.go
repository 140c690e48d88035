package sim

import (
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// minimisation looks for a shorter plan with the same violation.
type minimisation struct {
	seed       uint64
	invariant  Invariant
	options    Options
	runs, most int
}

// Minimise makes the plan of a seed as short as it gets with the violation of an invariant kept: it drops faults, then it shortens
// those that are left and makes them simpler. It makes at most the given number of runs.
func Minimise(seed uint64, plan []Fault, i Invariant, runs int, o Options) []Fault {
	o.Interpreter, o.Until, o.KeepText = memstore.NewInterpreter(), i, false
	m := &minimisation{seed: seed, invariant: i, options: o, most: runs}
	if !m.fails(plan) {
		return plan
	}
	plan = m.drop(plan)
	plan = m.simplify(plan)
	return m.drop(plan)
}

// fails reports whether the plan still has the violation.
func (m *minimisation) fails(plan []Fault) bool {
	if m.runs >= m.most {
		return false
	}
	m.runs++
	if plan == nil {
		plan = []Fault{}
	}
	m.options.Plan = plan
	r := Run(m.seed, m.options)
	_, found := r.Found(m.invariant)
	return found
}

// drop leaves faults out: halves first, then smaller parts, then single ones.
func (m *minimisation) drop(plan []Fault) []Fault {
	for size := max(len(plan)/2, 1); size > 0; size /= 2 {
		for from := 0; from < len(plan); {
			shorter := slices.Delete(slices.Clone(plan), from, min(from+size, len(plan)))
			if m.fails(shorter) {
				plan = shorter
			} else {
				from += size
			}
		}
	}
	return plan
}

// simplify shortens the faults, and takes what they do not need.
func (m *minimisation) simplify(plan []Fault) []Fault {
	for i := range plan {
		for _, change := range []func(f *Fault){
			func(f *Fault) { f.Chance = 0 },
			func(f *Fault) { f.For = rounded(f.For / 4) },
			func(f *Fault) { f.For = rounded(f.For / 2) },
			func(f *Fault) { f.For = rounded(f.For / 2) },
			func(f *Fault) { f.By = rounded(f.By / 4) },
			func(f *Fault) { f.By = 0 },
			func(f *Fault) { f.N = 0 },
			func(f *Fault) { f.At = rounded(f.At) },
		} {
			simpler := slices.Clone(plan)
			change(&simpler[i])
			if simpler[i] != plan[i] && m.fails(simpler) {
				plan = simpler
			}
		}
	}
	return plan
}

func rounded(d Duration) Duration {
	if t := time.Duration(d); t > 2*time.Second {
		return Duration(t.Round(time.Second))
	}
	return d
}

package sim

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// Options change a run.
type Options struct {
	// Plan replaces the plan that the seed gives, unless it is nil.
	Plan []Fault
	// Only restricts the kinds of faults that are drawn, unless it is empty.
	Only []Kind
	// Operator adds what an operator does to the plan that the seed gives.
	Operator bool
	// Shared makes deployments of 2 to 4 supervisors of the present version, which divide at least 5 tunnels among themselves.
	Shared bool
	// KeepText keeps the text of the trace.
	KeepText bool
	// Interpreter runs the store's scripts; runs of one goroutine may share it. Nil makes one.
	Interpreter *memstore.Interpreter
	// Programs are the programs of the processes; nil is those of the product.
	Programs *Programs
	// Scripts replaces the text of scripts of the store, by name.
	Scripts map[string]string
	// Until ends the run after the first violation of this invariant.
	Until Invariant
	// watch is called after each step; it may be nil.
	watch func(c *Cluster)
}

// Result is what a run gave.
type Result struct {
	Seed       uint64
	Plan       []Fault
	Steps      int
	Violations []Violation
	Coverage   *Coverage
	// Sum is the hash of the trace, Text the trace if it was kept.
	Sum, Text string
	// Stack is where a program panicked.
	Stack string
}

// Found returns the violation of an invariant, if there is one.
func (r *Result) Found(i Invariant) (Violation, bool) {
	n := slices.IndexFunc(r.Violations, func(v Violation) bool { return v.Invariant == i })
	if n < 0 {
		return Violation{}, false
	}
	return r.Violations[n], true
}

// specOf draws the deployment and the plan of a seed. They have streams of their own, so that a change of one leaves the other.
func specOf(seed uint64, o Options) (Spec, []Fault) {
	e := engine.New(seed, engine.NewTrace(false))
	spec := NewSpec(e.Rand("spec"))
	if r := e.Rand("lazy"); r.IntN(3) == 0 { // like workers of many tunnels, which only look at those that they have slots of
		for i := range spec.Workers {
			spec.Workers[i].Lazy = true
		}
	}
	if o.Shared {
		spec.share(2 + int(seed%3))
	}
	plan := NewPlan(e.Rand("plan"), &spec, o.Only...)
	if o.Operator {
		plan = WithOperator(e.Rand("operator"), &spec, plan)
	}
	return spec, plan
}

// Run runs one seed.
func Run(seed uint64, o Options) (result Result) {
	spec, plan := specOf(seed, o)
	if o.Plan != nil {
		plan = o.Plan
	}
	if o.Interpreter == nil {
		o.Interpreter = memstore.NewInterpreter()
	}
	if o.Programs == nil {
		o.Programs = product()
	}
	trace := engine.NewTrace(o.KeepText)
	c := newCluster(seed, spec, trace, o)
	for _, script := range slices.Sorted(maps.Keys(o.Scripts)) {
		c.server.db.ReplaceScript(script, o.Scripts[script])
	}
	stack := "" // no part of the trace: it has addresses
	defer func() {
		if p := recover(); p != nil {
			c.checker.violate(NoPanic, "run", "no panic: %v", p)
			stack = string(debug.Stack())
		}
		result = Result{
			Seed: seed, Plan: plan, Steps: c.engine.Steps(), Violations: c.checker.violations, Coverage: c.checker.coverage,
			Sum: trace.Sum(), Text: trace.Text(), Stack: stack,
		}
	}()
	c.inject(plan)
	for end := length(&spec, plan); c.engine.Step(end); {
		c.checker.step()
		if o.watch != nil {
			o.watch(c)
		}
		if o.Until != "" && len(c.checker.violations) > 0 && slices.ContainsFunc(c.checker.violations, func(v Violation) bool {
			return v.Invariant == o.Until
		}) {
			break
		}
	}
	return result
}

// length is the time of a whole run: the quiet time begins when the last fault has ended.
func length(s *Spec, plan []Fault) time.Duration {
	last := s.Warmup
	for _, f := range plan {
		last = max(last, time.Duration(f.At+f.For))
	}
	return last + s.Quiet
}

// Describe is the deployment of a seed in one line.
func Describe(seed uint64) string {
	s, _ := specOf(seed, Options{})
	text := fmt.Sprintf("%d tunnels x %d connections, %d workers, %d supervisors, %d edges, grace %v",
		len(s.Tunnels), s.Connections, len(s.Workers), len(s.Supervisors), len(s.Edges), s.Workers[0].Grace)
	for i := range s.Workers {
		if s.Workers[i].Legacy {
			text += ", former version " + s.Workers[i].ID
		}
	}
	for i := range s.Supervisors {
		if s.Supervisors[i].alone() {
			text += ", former version " + s.Supervisors[i].ID
		}
	}
	return text
}

// PlanOf is the plan of a seed.
func PlanOf(seed uint64) []Fault {
	_, plan := specOf(seed, Options{})
	return plan
}

// Command sim runs the simulation of the control plane: many seeds on all cores, or one seed with its trace.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/culvert-tunnel/culvert/tests/sim"
)

// minimiseRuns bounds the runs that making one plan smaller may take.
const minimiseRuns = 150

// collectAt makes the garbage collector rest more: a run allocates much and keeps little.
const collectAt = 400

type options struct {
	seed, from uint64
	seeds      int
	one        bool
	minimise   bool
	calibrate  int
	plan       string
	quiet      bool
	operator   bool
	shared     bool
	aim        int
}

func main() {
	var o options
	flag.IntVar(&o.seeds, "seeds", 1000, "number of seeds to run")
	flag.Uint64Var(&o.from, "from", 1, "first seed")
	flag.Uint64Var(&o.seed, "seed", 0, "run this seed alone, and print its trace")
	flag.BoolVar(&o.minimise, "minimise", false, "with -seed: make the plan smaller for each broken invariant")
	flag.StringVar(&o.plan, "plan", "", "with -seed: JSON of the faults to use instead of the seed's own")
	flag.BoolVar(&o.quiet, "quiet", false, "with -seed: print no trace")
	flag.BoolVar(&o.operator, "operator", false, "add what an operator desires and orders to the plans")
	flag.BoolVar(&o.shared, "shared", false, "make deployments of 2 to 4 supervisors that share the tunnels")
	flag.IntVar(&o.aim, "aim", 0, "afterwards look in up to so many seeds for moments in which faults hit states that they have not hit yet")
	flag.IntVar(&o.calibrate, "calibrate", 0, "minimise up to so many seeds of each broken invariant, and print findings as JSON")
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { o.one = o.one || f.Name == "seed" })
	ok, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(o options) (ok bool, err error) {
	debug.SetGCPercent(collectAt)
	if o.one {
		return replay(o)
	}
	options := sim.Options{Operator: o.operator, Shared: o.shared}
	s := sim.Many(o.from, o.seeds, options)
	if o.aim > 0 {
		sim.Aim(s, o.from, o.aim, options)
	}
	fmt.Fprint(os.Stderr, s, "\n", s.Coverage, "\n", s.Coverage.Explain(), "\n")
	if o.calibrate > 0 {
		return true, calibrate(s, o.calibrate)
	}
	known, err := sim.ReadKnown()
	if err != nil {
		return false, err
	}
	ok = true
	for _, i := range sim.Invariants() {
		list := s.Found[i]
		if len(list) <= known.Tolerated(i, s.Runs) {
			continue
		}
		ok = false
		f := smaller(list[0])
		fmt.Printf("NOT KNOWN: %s: %d of %d runs, at most %d are\n%s\nreplay: make sim SEED=%d\n",
			i, len(list), s.Runs, known.Tolerated(i, s.Runs), &f, f.Seed)
	}
	return ok, nil
}

// smaller minimises the plan of a finding.
func smaller(f sim.Finding) sim.Finding {
	f.Plan = sim.Minimise(f.Seed, f.Plan, f.Invariant, minimiseRuns, sim.Options{})
	r := sim.Run(f.Seed, sim.Options{Plan: f.Plan, Until: f.Invariant})
	if v, found := r.Found(f.Invariant); found {
		f.Seen = v.String()
	}
	return f
}

// replay runs one seed.
func replay(o options) (ok bool, err error) {
	var plan []sim.Fault
	if o.plan != "" {
		if err := json.Unmarshal([]byte(o.plan), &plan); err != nil {
			return false, fmt.Errorf("-plan: %w", err)
		}
	}
	r := sim.Run(o.seed, sim.Options{KeepText: !o.quiet, Plan: plan, Operator: o.operator, Shared: o.shared})
	fmt.Print(r.Text)
	fmt.Printf("seed %d: %s\n%d steps, trace %s\n", r.Seed, sim.Describe(r.Seed), r.Steps, r.Sum)
	for _, f := range r.Plan {
		fmt.Println("   ", f)
	}
	fmt.Print(r.Stack)
	for _, v := range r.Violations {
		fmt.Println("VIOLATION", v)
		if o.minimise {
			f := smaller(sim.Finding{Invariant: v.Invariant, Seed: r.Seed, Plan: r.Plan})
			fmt.Print(&f)
			if text, err := json.Marshal(f.Plan); err == nil {
				fmt.Printf("ARGS='-plan %s'\n", text)
			}
		}
	}
	return len(r.Violations) == 0, nil
}

// calibrate prints the smallest plan of each signature.
func calibrate(s *sim.Summary, each int) error {
	best := map[string]sim.Finding{}
	var order []string
	for _, i := range sim.Invariants() {
		for _, f := range s.Found[i][:min(len(s.Found[i]), each)] {
			f = smaller(f)
			sig := f.Signature()
			if old, found := best[sig]; !found || len(f.Plan) < len(old.Plan) {
				if !found {
					order = append(order, sig)
				}
				best[sig] = f
			}
			fmt.Fprintf(os.Stderr, "%s\n%s\n", sig, &f)
		}
	}
	list := make([]sim.Finding, 0, len(order))
	for _, sig := range order {
		list = append(list, best[sig])
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}

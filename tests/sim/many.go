package sim

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// Summary is what many runs gave together.
type Summary struct {
	Runs, Steps, Faults, Kinds int
	// Fewest is the number of steps of the shortest run.
	Fewest   int
	Took     time.Duration
	Coverage *Coverage
	// Found has the violations by invariant, each with the seed of its run, by seed.
	Found map[Invariant][]Finding
}

// Many runs the seeds from, from+1, ... on all cores, each run in one goroutine.
func Many(from uint64, seeds int, o Options) *Summary {
	s := &Summary{Coverage: NewCoverage(), Found: map[Invariant][]Finding{}}
	began := time.Now()
	var mu sync.Mutex
	next := from
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= from+uint64(seeds)
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			own := o
			own.Interpreter = memstore.NewInterpreter()
			for seed, more := take(); more; seed, more = take() {
				r := Run(seed, own)
				mu.Lock()
				s.add(&r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.Took = time.Since(began)
	for _, list := range s.Found {
		slices.SortFunc(list, func(a, b Finding) int { return cmp.Compare(a.Seed, b.Seed) })
	}
	return s
}

func (s *Summary) add(r *Result) {
	if s.Runs == 0 || r.Steps < s.Fewest {
		s.Fewest = r.Steps
	}
	s.Runs++
	s.Steps += r.Steps
	s.Faults += len(r.Plan)
	var kinds []Kind
	for _, f := range r.Plan {
		if !slices.Contains(kinds, f.Kind) {
			kinds = append(kinds, f.Kind)
		}
	}
	s.Kinds += len(kinds)
	s.Coverage.Add(r.Coverage)
	for _, v := range r.Violations {
		s.Found[v.Invariant] = append(s.Found[v.Invariant], Finding{Invariant: v.Invariant, Seed: r.Seed, Plan: r.Plan, Seen: v.String()})
	}
}

// Rate is the number of steps per second.
func (s *Summary) Rate() float64 { return float64(s.Steps) / s.Took.Seconds() }

// String says what the runs gave.
func (s *Summary) String() string {
	var b strings.Builder
	runs := float64(max(s.Runs, 1))
	fmt.Fprintf(&b, "%d runs, %d steps (%d a run, at least %d) in %v: %.0f steps/s; per run %.1f faults of %.1f kinds\n",
		s.Runs, s.Steps, s.Steps/max(s.Runs, 1), s.Fewest, s.Took.Round(time.Millisecond), s.Rate(), float64(s.Faults)/runs,
		float64(s.Kinds)/runs)
	for _, i := range Invariants() {
		list := s.Found[i]
		if len(list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%5d runs broke %s; seeds", len(list), i)
		for _, f := range list[:min(len(list), 8)] {
			fmt.Fprint(&b, " ", f.Seed)
		}
		fmt.Fprintf(&b, "\n        %s\n", list[0].Seen)
	}
	return b.String()
}

package sim

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// momentsKept is how many moments of a run are kept in which a slot is in a state.
const momentsKept = 4

// moments are times at which a slot was in a state, for each column of the table.
type moments [columns][]time.Duration

// momentsOf runs a seed and notes moments of each state from the end of the warm-up on.
func momentsOf(seed uint64, o Options) (out moments) {
	spec, _ := specOf(seed, o)
	var last time.Duration
	var seen [columns]bool
	o.Until = ""
	o.watch = func(c *Cluster) {
		now := c.engine.Elapsed()
		for i, was := range seen {
			// Between two steps nothing changes: the middle is a moment in which no event of the run happens.
			if was && now-last > time.Microsecond && last > spec.Warmup && len(out[i]) < momentsKept {
				out[i] = append(out[i], last+(now-last)/2)
			}
		}
		last, seen = now, c.checker.states()
	}
	Run(seed, o)
	return out
}

// states says in which states slots are now.
func (k *checker) states() (seen [columns]bool) {
	holders := k.holders()
	for _, t := range k.tunnels {
		for _, i := range t.indexes {
			column := unheld
			for _, h := range holders {
				if h.view.Slot.Tunnel == t.id && h.view.Slot.Index == i.index {
					column = int(h.view.Phase) + 1
				}
			}
			seen[column] = true
		}
	}
	return seen
}

// cell is a fault that hits a slot in a state.
type cell struct {
	kind   Kind
	column int
}

// Aim brings faults and states together that s has not seen together: it looks for moments of the seeds from, from+1, ... in which a slot
// is in a state, and lets the fault begin then, beside the plan of the seed. Runs and what they break are added to s.
func Aim(s *Summary, from uint64, seeds int, o Options) {
	began := time.Now()
	var mu sync.Mutex
	next := from
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			own := o
			own.Interpreter = memstore.NewInterpreter()
			for {
				mu.Lock()
				seed := next
				next++
				left := s.Coverage.empty()
				mu.Unlock()
				if seed >= from+uint64(seeds) || len(left) == 0 {
					return
				}
				found := momentsOf(seed, own)
				for _, c := range left {
					mu.Lock()
					done := s.Coverage.at(c) > 0
					mu.Unlock()
					if done || len(found[c.column]) == 0 {
						continue
					}
					r := Run(seed, aimed(seed, c, found[c.column], own))
					mu.Lock()
					s.add(&r)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	s.Took += time.Since(began)
}

// aimed is a run of a seed in which a fault begins at one of the moments, beside the faults that begin before it.
func aimed(seed uint64, c cell, at []time.Duration, o Options) Options {
	spec, plan := specOf(seed, o)
	r := engine.New(seed, engine.NewTrace(false)).Rand(fmt.Sprint("aim ", c.kind, " ", c.column))
	moment := Duration(at[r.IntN(len(at))])
	i := slices.IndexFunc(drawable(), func(d drawing) bool { return d.kind == c.kind })
	f := drawable()[i].draw(r, &spec)
	f.Kind, f.At = c.kind, moment
	plan = slices.DeleteFunc(plan, func(f Fault) bool { return f.At > moment })
	o.Plan = append(plan, f)
	return o
}

// empty lists the cells without a hit that may have one.
func (c *Coverage) empty() []cell {
	var out []cell
	for _, k := range Kinds() {
		for i := range columns {
			if at := (cell{k, i}); c.at(at) == 0 && Unreachable(k, column(i)) == "" {
				out = append(out, at)
			}
		}
	}
	return out
}

func (c *Coverage) at(at cell) int {
	if row := c.counts[at.kind]; row != nil {
		return row[at.column]
	}
	return 0
}

// Unreachable says why a fault cannot hit a slot in a state, or is empty.
func Unreachable(_ Kind, state string) string {
	switch state {
	case "idle":
		return "a holder gets its grant in the step that makes it"
	case "ended":
		return "a holder is gone in the step in which it ends"
	}
	return ""
}

// Explain lists the cells without a hit, with the reason where there is one.
func (c *Coverage) Explain() string {
	var b strings.Builder
	reasons := map[string]int{}
	var order []string
	for _, k := range Kinds() {
		for i := range columns {
			if c.at(cell{k, i}) > 0 {
				continue
			}
			why := Unreachable(k, column(i))
			if why == "" {
				fmt.Fprintf(&b, "never: %s x %s\n", k, column(i))
				continue
			}
			why = column(i) + ": " + why
			if reasons[why] == 0 {
				order = append(order, why)
			}
			reasons[why]++
		}
	}
	for _, why := range order {
		fmt.Fprintf(&b, "%d cells of %s\n", reasons[why], why)
	}
	return b.String()
}

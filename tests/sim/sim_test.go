package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestPlansHaveManyFaultsOfManyKinds(t *testing.T) {
	t.Parallel()
	faults, kinds := 0, 0
	seen := map[Kind]int{}
	const seeds = 2000
	for seed := range uint64(seeds) {
		plan := PlanOf(seed)
		var own []Kind
		for _, f := range plan {
			faults++
			seen[f.Kind]++
			if !slices.Contains(own, f.Kind) {
				own = append(own, f.Kind)
			}
		}
		kinds += len(own)
		if !slices.IsSortedFunc(plan, func(a, b Fault) int { return int(a.At - b.At) }) {
			t.Fatalf("seed %d: the plan is not in order of time", seed)
		}
	}
	if mean := float64(faults) / seeds; mean < 5 {
		t.Errorf("%.1f faults per seed on average, want at least 5", mean)
	}
	if mean := float64(kinds) / seeds; mean < 3 {
		t.Errorf("%.1f kinds of faults per seed on average, want at least 3", mean)
	}
	for _, k := range Kinds() {
		if seen[k] < seeds/50 {
			t.Errorf("%s is drawn %d times in %d seeds", k, seen[k], seeds)
		}
	}
}

func TestPlanSurvivesJSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		plan := PlanOf(seed)
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		var back []Fault
		if err := json.Unmarshal(text, &back); err != nil || !slices.Equal(plan, back) {
			t.Fatalf("seed %d: %v became %v, error %v", seed, plan, back, err)
		}
	}
	var d Duration
	if err := d.UnmarshalText([]byte("soon")); err == nil {
		t.Error("the duration \"soon\" was accepted")
	}
}

// needsBoth is a set of programs that panics when the edge dropped sessions while worker w2 was stopped, however short.
func needsBoth() *Programs {
	return toys(map[string]func(*Env){"w1": func(e *Env) {
		serve(e, connectorOne)
		var look func()
		look = func() {
			e.After(100*time.Millisecond, "look", look)
			if len(e.cluster.sessionsOf(tunnelOne, 0)) == 0 && e.cluster.engine.Elapsed() > 30*time.Second {
				for _, o := range e.cluster.of("w2") {
					if o.process.Paused() {
						panic("both")
					}
				}
			}
		}
		look()
	}})
}

func TestMinimiseKeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	at := func(s int) Duration { return Duration(time.Duration(s) * time.Second) }
	plan := []Fault{
		{At: at(45), Kind: Pause, Target: "s1", For: at(3)},
		{At: at(50), Kind: Pause, Target: "w2", For: at(40)},
		{At: at(51), Kind: LoseReply, For: at(10), Chance: 0.5},
		{At: at(55), Kind: EdgeDrops},
		{At: at(58), Kind: HostEdge, Target: "h3", For: at(5)},
		{At: at(60), Kind: PoolFails, For: at(30)},
	}
	o := Options{Programs: needsBoth()}
	small := Minimise(1, plan, NoPanic, 200, o)
	var kinds []Kind
	for _, f := range small {
		kinds = append(kinds, f.Kind)
	}
	if !slices.Equal(kinds, []Kind{Pause, EdgeDrops}) {
		t.Fatalf("minimised to %v, want the pause of w2 and the drop", small)
	}
	if d := time.Duration(small[0].For); d > 20*time.Second {
		t.Errorf("the pause lasts %v, want it shortened from 40s", d)
	}
	o.Plan = small
	r := Run(1, o)
	if _, found := r.Found(NoPanic); !found {
		t.Errorf("the minimised plan does not show the violation")
	}
	if got := Minimise(1, plan[:1], NoPanic, 200, Options{Programs: needsBoth()}); !slices.Equal(got, plan[:1]) {
		t.Errorf("a plan without the violation became %v", got)
	}
}

func TestCoverageTable(t *testing.T) {
	t.Parallel()
	a, b := NewCoverage(), NewCoverage()
	a.count(Pause, unheld, 2)
	b.count(Pause, unheld, 1)
	b.count(Kill, columns-1, 4)
	a.Add(b)
	if a.Faults(Pause) != 3 || a.Faults(Kill) != 4 || a.Faults(Delay) != 0 {
		t.Errorf("hits of pause, kill and delay: %d, %d, %d; want 3, 4, 0", a.Faults(Pause), a.Faults(Kill), a.Faults(Delay))
	}
	if got, want := len(a.Empty()), len(Kinds())*columns-2; got != want {
		t.Errorf("%d empty cells, want %d", got, want)
	}
	if fmt.Sprint(a) == fmt.Sprint(NewCoverage()) {
		t.Error("the table does not show the counts")
	}
}

package sim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// The seeds of the test run: few in `make test`, all in `make test-long`. `make sim` runs as many as one likes.
const (
	fewSeeds, allSeeds       = 40, 200
	fewRepeated, allRepeated = 6, 100
	raceSeeds                = 16
	leastSteps               = 1000
	minimiseRuns             = 200
)

// TestSeeds runs whole clusters with faults. It fails when a run breaks an invariant that no known finding breaks, or when clearly more
// runs than are known break one of the others; with the seed and the smallest plan that shows it.
func TestSeeds(t *testing.T) {
	known, err := ReadKnown()
	if err != nil {
		t.Fatal(err)
	}
	n := testkit.LongCount(fewSeeds, allSeeds)
	if underRace {
		n = raceSeeds
	}
	s := Many(1, n, Options{})
	t.Logf("\n%s\n%s", s, s.Coverage)
	if s.Fewest < leastSteps {
		t.Errorf("a run of %d steps, want at least %d", s.Fewest, leastSteps)
	}
	for _, i := range Invariants() {
		list := s.Found[i]
		if len(list) <= known.Tolerated(i, s.Runs) {
			continue
		}
		f := list[0]
		f.Plan = Minimise(f.Seed, f.Plan, i, minimiseRuns, Options{})
		t.Errorf("%s: %d of %d runs, want at most %d; replay with: make sim SEED=%d\n%s",
			i, len(list), s.Runs, known.Tolerated(i, s.Runs), f.Seed, &f)
	}
}

// operatedSeeds is how many seeds are run with an operator who changes what is desired, and sends commands. One of them may break an
// invariant: docs/simulation.md has what is known of those.
const operatedFew, operatedSeeds, operatedRace, operatedKnown = 8, 40, 4, 1

// TestSeedsWithOperator adds to the faults what an operator does meanwhile: nothing else may break, and what is desired comes about.
func TestSeedsWithOperator(t *testing.T) {
	t.Parallel()
	n := testkit.LongCount(operatedFew, operatedSeeds)
	if underRace {
		n = operatedRace
	}
	s := Many(1, n, Options{Operator: true})
	for _, i := range Invariants() {
		if len(s.Found[i]) <= operatedKnown && i != PausedEnds && i != CommandOnce {
			continue
		}
		for _, f := range s.Found[i] {
			t.Errorf("%s: replay with: make sim SEED=%d ARGS=-operator\n%s", i, f.Seed, &f)
		}
	}
}

// sharedSeeds is how many seeds are run with several supervisors that share the tunnels, and sharedKnown how many of them may break one of
// the invariants of which findings are known, or the budget of a connector, of which docs/simulation.md has what is known.
const sharedFew, sharedSeeds, sharedRace, sharedKnown = 8, 60, 4, 2

// TestSeedsWithSharedTunnels: two to four supervisors share the tunnels, and are stopped, killed and cut off like everything else.
func TestSeedsWithSharedTunnels(t *testing.T) {
	t.Parallel()
	n := testkit.LongCount(sharedFew, sharedSeeds)
	if underRace {
		n = sharedRace
	}
	known, err := ReadKnown()
	if err != nil {
		t.Fatal(err)
	}
	s := Many(1, n, Options{Shared: true})
	for _, i := range Invariants() {
		if len(s.Found[i]) <= sharedKnown && (i == ConnectorBudget || known.Tolerated(i, s.Runs) > 0) {
			continue
		}
		for _, f := range s.Found[i] {
			t.Errorf("%s: replay with: make sim SEED=%d ARGS=-shared\n%s", i, f.Seed, &f)
		}
	}
}

// TestOperatorIsFollowed: without a fault all that an operator does comes about.
func TestOperatorIsFollowed(t *testing.T) {
	t.Parallel()
	at := func(seconds int, kind Kind, target string, n int) Fault {
		f := Fault{At: Duration(time.Duration(seconds) * time.Second), Kind: kind, Target: target, N: n}
		if kind != OrderMove && kind != OrderReconnect {
			f.For = Duration(8 * time.Second)
		}
		return f
	}
	const seed = 4 // a deployment of the present version
	r := Run(seed, Options{KeepText: true, Plan: []Fault{
		at(40, OrderMove, "t1", 0), at(50, OrderReconnect, "t1", 1), at(60, WishPaused, "t1", 0), at(100, WishFewer, "t1", 1),
		at(130, WishDrain, "w1", 0), at(170, WishWeight, "w1", 0),
	}})
	for _, v := range r.Violations {
		t.Error(v)
	}
	for _, want := range []string{
		"cause command", "answered c0: done", "answered c1: done", ": paused", ": unwanted", "cause draining", "cause weight",
	} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("nothing with %q in the trace", want)
		}
	}
}

// TestSameSeedSameTrace runs seeds twice: their traces are the same to the byte.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	interpreter := memstore.NewInterpreter()
	for seed := range uint64(testkit.LongCount(fewRepeated, allRepeated)) {
		a := Run(seed, Options{Interpreter: interpreter})
		b := Run(seed, Options{})
		if a.Sum == b.Sum {
			continue
		}
		a, b = Run(seed, Options{KeepText: true}), Run(seed, Options{KeepText: true})
		t.Fatalf("seed %d: two runs differ%s", seed, firstDifference(a.Text, b.Text))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return " at line " + x[i] + " / " + y[i]
		}
	}
	return ", but not in these two more runs"
}

// TestKnownFindings holds the list of findings to the truth: each one is still there. One that is mended is taken from the list, and
// from docs/simulation.md.
func TestKnownFindings(t *testing.T) {
	t.Parallel()
	known, err := ReadKnown()
	if err != nil {
		t.Fatal(err)
	}
	interpreter := memstore.NewInterpreter()
	for _, f := range known.Findings {
		r := Run(f.Seed, Options{Plan: f.Plan, Interpreter: interpreter, Until: f.Invariant})
		if _, found := r.Found(f.Invariant); !found {
			t.Errorf("not found any more: %s, area %q, seed %d. If it is mended, remove it from testdata/findings.json and docs/simulation.md",
				f.Invariant, f.Area, f.Seed)
		}
		if f.Area == "" || f.What == "" || f.Plan == nil {
			t.Errorf("seed %d, %s: a finding needs an area, a plan, which may be empty, and words for what is wrong", f.Seed, f.Invariant)
		}
	}
}

// TestRegressions: what was mended stays mended.
func TestRegressions(t *testing.T) {
	t.Parallel()
	list, err := ReadRegressions()
	if err != nil || len(list) == 0 {
		t.Fatalf("%d regressions, %v", len(list), err)
	}
	interpreter := memstore.NewInterpreter()
	for _, g := range list {
		if g.Name == "" || g.Invariant == "" || g.Plan == nil {
			t.Errorf("seed %d: a regression needs a name, an invariant and a plan, which may be empty", g.Seed)
		}
		r := Run(g.Seed, Options{Plan: g.Plan, Interpreter: interpreter, Until: g.Invariant})
		if v, found := r.Found(g.Invariant); found {
			t.Errorf("%s: seed %d: %s", g.Name, g.Seed, v)
		}
	}
}

// TestDocumentListsFindings holds docs/simulation.md to the list of findings.
func TestDocumentListsFindings(t *testing.T) {
	t.Parallel()
	known, err := ReadKnown()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, f := range known.Findings {
		row := fmt.Sprintf("| %s | %s | %d |", f.Area, f.Invariant, f.Seed)
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/simulation.md has no row %q", row)
		}
		rows = append(rows, row)
	}
	_, table, _ := strings.Cut(string(text), "| Area | Invariant | Seed |")
	table, _, _ = strings.Cut(table, "\n\n")
	if got := strings.Count(table, "\n") - 1; got != len(rows) {
		t.Errorf("docs/simulation.md lists %d findings, there are %d", got, len(rows))
	}
}

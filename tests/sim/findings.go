package sim

import (
	_ "embed" // the findings
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Finding is a violation that a seed shows with a plan.
type Finding struct {
	// Area is the part of the design that the fault is in.
	Area      string    `json:"area"`
	Invariant Invariant `json:"invariant"`
	Seed      uint64    `json:"seed"`
	Plan      []Fault   `json:"plan"`
	// Seen is the violation in words; What says what is wrong.
	Seen string `json:"seen,omitempty"`
	What string `json:"what,omitempty"`
}

//go:embed testdata/findings.json
var findingsJSON []byte

// Known is what is known to be wrong with the product.
type Known struct {
	// Findings are the faults that are not mended yet; docs/simulation.md explains them.
	Findings []Finding `json:"findings"`
	// Seeds is the number of seeds, from 1, that were counted; Broken says how many of them break an invariant of the findings.
	Seeds  int               `json:"seeds"`
	Broken map[Invariant]int `json:"broken"`
}

// ReadKnown reads what is known.
func ReadKnown() (*Known, error) {
	var k Known
	if err := json.Unmarshal(findingsJSON, &k); err != nil {
		return nil, fmt.Errorf("testdata/findings.json: %w", err)
	}
	return &k, nil
}

// Tolerated is how many of a number of seeds may break an invariant: none, unless a finding breaks it. For those it is what was
// counted, and some more: every change of the product changes what happens in all runs after it.
func (k *Known) Tolerated(i Invariant, seeds int) int {
	if !slices.ContainsFunc(k.Findings, func(f Finding) bool { return f.Invariant == i }) || k.Seeds == 0 {
		return 0
	}
	expected := float64(k.Broken[i]) * float64(seeds) / float64(k.Seeds)
	return int(math.Ceil(expected + 3*math.Sqrt(expected) + 2))
}

// Regression is a run that showed a fault of the product before it was mended. Its seed and plan must not break the invariant again.
type Regression struct {
	// Name says in a few words what was wrong.
	Name      string    `json:"name"`
	Invariant Invariant `json:"invariant"`
	Seed      uint64    `json:"seed"`
	Plan      []Fault   `json:"plan"`
}

//go:embed testdata/regressions.json
var regressionsJSON []byte

// ReadRegressions lists the regressions.
func ReadRegressions() ([]Regression, error) {
	var list []Regression
	if err := json.Unmarshal(regressionsJSON, &list); err != nil {
		return nil, fmt.Errorf("testdata/regressions.json: %w", err)
	}
	return list, nil
}

// Signature is the invariant and the kinds of faults of the plan: findings with the same one are probably the same.
func (f *Finding) Signature() string {
	var kinds []string
	for _, p := range f.Plan {
		if !slices.Contains(kinds, string(p.Kind)) {
			kinds = append(kinds, string(p.Kind))
		}
	}
	slices.Sort(kinds)
	return string(f.Invariant) + " after " + strings.Join(kinds, "+")
}

// String is the finding with its plan, a line for each fault.
func (f *Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d (%s)\n", f.Seed, Describe(f.Seed))
	for _, p := range f.Plan {
		fmt.Fprintln(&b, "   ", p)
	}
	if f.Seen != "" {
		fmt.Fprintln(&b, "    ->", f.Seen)
	}
	return b.String()
}

package sim

import (
	_ "embed" // the findings
	"encoding/json"
	"fmt"
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

// Findings lists the known findings: each is a fault of the product that is not mended yet. docs/simulation.md explains them.
func Findings() ([]Finding, error) {
	var list []Finding
	if err := json.Unmarshal(findingsJSON, &list); err != nil {
		return nil, fmt.Errorf("testdata/findings.json: %w", err)
	}
	return list, nil
}

// Known lists the invariants of findings.
func Known(list []Finding) []Invariant {
	var known []Invariant
	for _, f := range list {
		if !slices.Contains(known, f.Invariant) {
			known = append(known, f.Invariant)
		}
	}
	return known
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

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// result is one figure of one variant in one round.
type result struct {
	Variant string  `json:"variant"`
	Case    string  `json:"case"`
	Unit    string  `json:"unit"`
	Round   int     `json:"round"`
	Value   float64 `json:"value"`
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// report prints a row per case and a column per variant, with the ratio to the peer behind it when there is one.
func report(w io.Writer, results []result, variants []string) {
	type key struct{ name, variant string }
	values := map[key]map[int]float64{}
	var cases []string
	units := map[string]string{}
	for _, r := range results {
		k := key{r.Case, r.Variant}
		if values[k] == nil {
			values[k] = map[int]float64{}
		}
		values[k][r.Round] = r.Value
		if !slices.Contains(cases, r.Case) {
			cases = append(cases, r.Case)
			units[r.Case] = r.Unit
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "case\tunit\t")
	for _, v := range variants {
		fmt.Fprintf(tw, "%s\t", v)
		if v != "peer" && slices.Contains(variants, "peer") {
			fmt.Fprint(tw, "/peer\t")
		}
	}
	fmt.Fprintln(tw)
	for _, c := range cases {
		fmt.Fprintf(tw, "%s\t%s\t", c, units[c])
		for _, v := range variants {
			var all, ratios []float64
			for round, x := range values[key{c, v}] {
				all = append(all, x)
				if p := values[key{c, "peer"}][round]; p > 0 {
					ratios = append(ratios, x/p)
				}
			}
			fmt.Fprintf(tw, "%.4g\t", median(all))
			if v != "peer" && slices.Contains(variants, "peer") {
				fmt.Fprintf(tw, "x%.2f\t", median(ratios))
			}
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush() // nothing can be done when standard output is closed
}

func writeJSON(path string, results []result) error {
	b, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	return nil
}

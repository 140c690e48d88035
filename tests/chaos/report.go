package chaos

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// capFactor is how much longer than its bound a time may be before a run fails: machines that run tests are busy, and a time on
// them says less than a count.
const capFactor = 3

// Bound is what a scenario measures, and how much of it there may be.
type Bound struct {
	Measure string
	// Limit is the most, or for AtLeast the least.
	Limit   float64
	AtLeast bool
	// Time is a measure in seconds: it is reported beside its bound, and fails a run from three times the bound on.
	Time bool
	// Free is a measure without a bound.
	Free bool
}

// Holds says whether a value is within the bound, and Passes whether a run with it passes.
func (b Bound) Holds(v float64) bool {
	switch {
	case b.Free:
		return true
	case b.AtLeast:
		return v >= b.Limit
	default:
		return v <= b.Limit
	}
}

// Passes says whether a run with the value passes.
func (b Bound) Passes(v float64) bool {
	if b.Time {
		b.Limit *= capFactor
	}
	return b.Holds(v)
}

func (b Bound) String() string {
	if b.Free {
		return "-"
	}
	sign := "<="
	if b.AtLeast {
		sign = ">="
	}
	unit := ""
	if b.Time {
		unit = " s"
	}
	return fmt.Sprintf("%s %s%s", sign, number(b.Limit), unit)
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Row is one measure of a scenario over all its runs.
type Row struct {
	Scenario string    `json:"scenario"`
	Measure  string    `json:"measure"`
	Bound    string    `json:"bound"`
	Values   []float64 `json:"values"`
	Min      float64   `json:"min"`
	Median   float64   `json:"median"`
	Worst    float64   `json:"worst"`
	// Within is the number of runs within the bound.
	Within int `json:"within"`
}

// NewRow sums up the values of a measure; there must be one at least.
func NewRow(scenario string, b Bound, values []float64) Row {
	sorted := slices.Sorted(slices.Values(values))
	r := Row{
		Scenario: scenario, Measure: b.Measure, Bound: b.String(), Values: values,
		Min: sorted[0], Median: sorted[len(sorted)/2], Worst: sorted[len(sorted)-1],
	}
	if n := len(sorted); n%2 == 0 {
		r.Median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	if b.AtLeast {
		r.Min, r.Worst = r.Worst, r.Min // the least is the worst
	}
	for _, v := range values {
		if b.Holds(v) {
			r.Within++
		}
	}
	return r
}

// Print writes the rows as a table. The column "best" is the value that is farthest from the bound.
func Print(w io.Writer, rows []Row) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	lines := []string{"scenario\tmeasure\tbound\tbest\tmedian\tworst\twithin"}
	last := ""
	for _, r := range rows {
		name := r.Scenario
		if name == last {
			name = ""
		}
		last = r.Scenario
		lines = append(lines, strings.Join([]string{
			name, r.Measure, r.Bound, short(r.Min), short(r.Median), short(r.Worst), fmt.Sprintf("%d of %d", r.Within, len(r.Values)),
		}, "\t"))
	}
	_, err := io.WriteString(tw, strings.Join(lines, "\n")+"\n")
	if err == nil {
		err = tw.Flush()
	}
	if err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

func short(v float64) string { return number(float64(int64(v*100+0.5)) / 100) }

package chaos_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/chaos"
)

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		bound         chaos.Bound
		value         float64
		holds, passes bool
		text          string
	}{
		{chaos.Bound{Limit: 4}, 4, true, true, "<= 4"},
		{chaos.Bound{Limit: 4}, 5, false, false, "<= 4"},
		{chaos.Bound{Limit: 95, AtLeast: true}, 94.9, false, false, ">= 95"},
		{chaos.Bound{Limit: 8, Time: true}, 8.1, false, true, "<= 8 s"},
		{chaos.Bound{Limit: 8, Time: true}, 24.1, false, false, "<= 8 s"},
		{chaos.Bound{Free: true}, 1e6, true, true, "-"},
	} {
		if holds, passes := c.bound.Holds(c.value), c.bound.Passes(c.value); holds != c.holds || passes != c.passes {
			t.Errorf("%v, value %v: holds %v, passes %v", c.bound, c.value, holds, passes)
		}
		if got := c.bound.String(); got != c.text {
			t.Errorf("%q, want %q", got, c.text)
		}
	}
}

func TestTable(t *testing.T) {
	rows := []chaos.Row{
		chaos.NewRow("kill", chaos.Bound{Measure: "unserved", Limit: 8, Time: true}, []float64{3, 9.126, 4}),
		chaos.NewRow("kill", chaos.Bound{Measure: "kept", Limit: 95, AtLeast: true}, []float64{100, 97}),
	}
	var out strings.Builder
	if err := chaos.Print(&out, rows); err != nil {
		t.Fatal(err)
	}
	const want = `scenario  measure   bound   best  median  worst  within
kill      unserved  <= 8 s  3     4       9.13   2 of 3
          kept      >= 95   100   98.5    97     2 of 2
`
	if out.String() != want {
		t.Errorf("table\n%s, want\n%s", out.String(), want)
	}
}

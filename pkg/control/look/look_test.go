package look_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/look"
)

// looks plays changes, in milliseconds, and returns the times of the looks.
func looks(d *look.Decider, changes ...int) (at []int) {
	start := time.Now()
	end := changes[len(changes)-1] + 60_000
	for ms, i := 0, 0; ms <= end; ms++ {
		now := start.Add(time.Duration(ms) * time.Millisecond)
		for ; i < len(changes) && changes[i] == ms; i++ {
			d.Changed(now)
		}
		if d.Due(now) {
			at = append(at, ms)
		}
	}
	return at
}

func TestGroups(t *testing.T) {
	var steady []int
	for ms := 0; ms < 20_000; ms += 100 {
		steady = append(steady, ms)
	}
	for name, tc := range map[string]struct{ changes, want []int }{
		"one":               {[]int{10}, []int{1010}},
		"a group":           {[]int{0, 300, 900, 1500}, []int{2500}},
		"no quiet":          {steady, []int{5000, 35_000}},
		"soon again":        {[]int{0, 4000, 8000}, []int{1000, 31_000}},
		"later":             {[]int{0, 40_000}, []int{1000, 41_000}},
		"at the same place": {[]int{0, 0, 0, 0}, []int{1000}},
	} {
		got := looks(look.New(func(int64) int64 { return 0 }), tc.changes...)
		if len(got) != len(tc.want) {
			t.Errorf("%s: looks at %v, want %v", name, got, tc.want)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: looks at %v, want %v", name, got, tc.want)
			}
		}
	}
}

// Whatever changes, looks come at most every 30 s, and none is lost.
func TestNeverAStorm(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var changes []int
		at := 0
		for range 1 + r.IntN(300) {
			at += r.IntN(3000)
			changes = append(changes, at)
		}
		got := looks(look.New(r.Int64N), changes...)
		if len(got) == 0 || got[len(got)-1] < at {
			t.Fatalf("seed %d: looks at %v, the last change was at %d", seed, got, at)
		}
		for i := 1; i < len(got); i++ {
			if got[i]-got[i-1] < 30_000 {
				t.Fatalf("seed %d: looks at %d and %d", seed, got[i-1], got[i])
			}
		}
	}
}

func TestClock(t *testing.T) {
	d := look.New(func(int64) int64 { return 0 })
	now := time.Now()
	if d.Clock(now) || d.Clock(now.Add(5*time.Second)) || d.Clock(now.Add(time.Hour)) {
		t.Error("clocks that run alike are a jump")
	}
}

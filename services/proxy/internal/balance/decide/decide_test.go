package decide_test

import (
	"math"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance/decide"
)

// group makes candidates of a text: a letter each, "u" usable, "d" down, upper case for backups.
func group(text string) []decide.Candidate {
	out := make([]decide.Candidate, len(text))
	for i, c := range text {
		out[i] = decide.Candidate{
			ID: uint64(i+1) * 0x9e3779b97f4a7c15, Weight: 1, Share: 1, Usable: c == 'u' || c == 'U', Backup: c == 'U' || c == 'D',
		}
	}
	return out
}

func TestWhoIsEligible(t *testing.T) {
	for _, tc := range []struct {
		name, group string
		panic       int
		tried       uint64
		want        string // indices that are chosen over many rounds
		panicking   bool
	}{
		{"all well", "uuu", 50, 0, "012", false},
		{"one down", "udu", 50, 0, "02", false},
		{"most down", "udd", 50, 0, "012", true},
		{"most down, no threshold", "udd", 0, 0, "0", false},
		{"all down, no threshold", "ddd", 0, 0, "012", true},
		{"backup is idle", "uuU", 50, 0, "01", false},
		{"one of two is exactly half", "udU", 50, 0, "0", false},
		{"below the threshold the backup helps", "uddU", 50, 0, "03", false},
		{"only the backup is left", "ddU", 50, 0, "2", false},
		{"backup is down, too", "ddD", 50, 0, "01", true},
		{"second attempt goes elsewhere", "uuu", 50, 0b001, "12", false},
		{"usable ones were tried", "uud", 50, 0b011, "2", true},
		{"usable ones were tried, the backup is next", "ddU", 50, 0b100, "01", true},
		{"all were tried", "uu", 50, 0b11, "", true},
	} {
		for p, policy := range map[string]decide.Policy{
			"round robin": decide.RoundRobin, "least": decide.LeastInFlight, "random": decide.RandomTwo, "hash": decide.Hash,
		} {
			seen := map[int]bool{}
			for n := range uint64(2000) {
				random := n*0x9e3779b97f4a7c15 ^ n<<32
				in := decide.Input{Policy: policy, Panic: tc.panic, Tried: tc.tried, Round: n, Random: random, Key: random}
				i, panicking, ok := decide.Choose(in, group(tc.group))
				if ok != (tc.want != "") || panicking != tc.panicking {
					t.Fatalf("%s, %s: ok %v, panicking %v", tc.name, p, ok, panicking)
				}
				if ok {
					seen[i] = true
				}
			}
			got := ""
			for i := range tc.group {
				if seen[i] {
					got += string(rune('0' + i))
				}
			}
			if got != tc.want {
				t.Errorf("%s, %s: chose %q, want %q", tc.name, p, got, tc.want)
			}
		}
	}
}

// counts chooses n times.
func counts(in decide.Input, all []decide.Candidate, n int) []int {
	out := make([]int, len(all))
	for k := range uint64(n) {
		in.Round, in.Random, in.Key = k, mixed(k), mixed(k)
		i, _, _ := decide.Choose(in, all)
		out[i]++
	}
	return out
}

func mixed(k uint64) uint64 {
	k = (k + 1) * 0x9e3779b97f4a7c15
	k ^= k >> 29
	return k * 0xbf58476d1ce4e5b9
}

func TestWeights(t *testing.T) {
	for _, p := range []decide.Policy{decide.RoundRobin, decide.Hash} {
		all := group("uuu")
		all[1].Weight, all[2].Weight = 2, 5
		got := counts(decide.Input{Policy: p}, all, 8000)
		for i, want := range []float64{1000, 2000, 5000} {
			if math.Abs(float64(got[i])-want) > want/8 {
				t.Errorf("policy %d: %v, want 1:2:5", p, got)
			}
		}
	}
	all := group("uuuu")
	if got := counts(decide.Input{Policy: decide.RoundRobin}, all, 400); got[0] != 100 || got[3] != 100 {
		t.Errorf("equal weights: %v", got)
	}
	all[0].Share = 0.1 // slow start
	got := counts(decide.Input{Policy: decide.RoundRobin}, all, 3100)
	if got[0] < 90 || got[0] > 110 {
		t.Errorf("slow start: %v, want about 100 of 3100", got)
	}
}

func TestNoRunsInRoundRobin(t *testing.T) {
	all := group("uu")
	all[0].Weight = 3
	last, run := -1, 0
	for n := range uint64(400) {
		i, _, _ := decide.Choose(decide.Input{Policy: decide.RoundRobin, Round: n}, all)
		if i == last {
			run++
		} else {
			last, run = i, 1
		}
		if run > 4 {
			t.Fatalf("origin %d got %d requests in a row", i, run)
		}
	}
}

func TestLoad(t *testing.T) {
	all := group("uuu")
	all[0].InFlight, all[1].InFlight, all[2].InFlight = 5, 1, 9
	if i, _, _ := decide.Choose(decide.Input{Policy: decide.LeastInFlight}, all); i != 1 {
		t.Errorf("least in flight: %d", i)
	}
	all[2].Weight = 10 // 9 requests for weight 10 are fewer than 1 for weight 1
	if i, _, _ := decide.Choose(decide.Input{Policy: decide.LeastInFlight}, all); i != 2 {
		t.Errorf("least in flight by weight: %d", i)
	}
	got := counts(decide.Input{Policy: decide.RandomTwo}, group("uuu"), 3000)
	for i := range got {
		if got[i] < 800 || got[i] > 1200 {
			t.Errorf("random of two without load: %v", got)
		}
	}
	busy := group("uuu")
	busy[0].InFlight = 100
	if got := counts(decide.Input{Policy: decide.RandomTwo}, busy, 3000); got[0] > 500 {
		t.Errorf("random of two: the busy one got %d of 3000, want about a ninth", got[0])
	}
}

// TestHashKeepsItsKeys lets one origin fall out: no key of the others moves.
func TestHashKeepsItsKeys(t *testing.T) {
	well, ill := group("uuuu"), group("uduu")
	moved := 0
	for k := range uint64(4000) {
		in := decide.Input{Policy: decide.Hash, Key: mixed(k)}
		before, _, _ := decide.Choose(in, well)
		after, _, _ := decide.Choose(in, ill)
		switch {
		case before == 1 && after == 1:
			t.Fatal("a key stays at an origin that is down")
		case before != 1 && before != after:
			t.Fatalf("key %d moved from %d to %d", k, before, after)
		case before == 1:
			moved++
		}
	}
	if moved < 800 || moved > 1200 {
		t.Errorf("%d of 4000 keys moved, want about a quarter", moved)
	}
}

func TestHealth(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct{ results, want string }{ // g good, b bad; state after each: u up, d down
		{"g", "u"},
		{"b", "d"}, // the first result counts at once
		{"gbbb", "uuud"},
		{"gbbgbbb", "uuuuuud"},
		{"bgg", "ddu"},
		{"bgbgg", "ddddu"},
		{"ggggbbbbgg", "uuuuuuddd" + "u"},
	} {
		var h decide.Health
		got := ""
		for i, r := range tc.results {
			before := h
			h = h.After(r == 'g', 2, 3, now.Add(time.Duration(i)*time.Second))
			if h.Down {
				got += "d"
			} else {
				got += "u"
			}
			if h.Down != before.Down && !h.Since.Equal(now.Add(time.Duration(i)*time.Second)) {
				t.Errorf("%s: since %v after result %d", tc.results, h.Since, i)
			}
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.results, got, tc.want)
		}
	}
}

func TestSlowStart(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tc := range []struct {
		since  time.Time
		window time.Duration
		want   float64
	}{
		{time.Time{}, time.Minute, 1},
		{now, 0, 1},
		{now, time.Minute, 0.1},
		{now.Add(-30 * time.Second), time.Minute, 0.5},
		{now.Add(-time.Hour), time.Minute, 1},
		{now.Add(time.Second), time.Minute, 0.1},
	} {
		if got := decide.SlowStart(tc.since, now, tc.window); got != tc.want {
			t.Errorf("%v, %v: %v, want %v", tc.since, tc.window, got, tc.want)
		}
	}
}

func TestBudget(t *testing.T) {
	b := decide.NewBudget()
	repeats := func() (n int) {
		for b.Repeat() {
			n++
		}
		return n
	}
	if n := repeats(); n != 10 {
		t.Errorf("reserve of %d repeats, want 10", n)
	}
	for range 50 {
		b.Request(20)
	}
	if n := repeats(); n != 10 {
		t.Errorf("%d repeats for 50 requests, want 10", n)
	}
	for range 10_000 {
		b.Request(20)
	}
	if n := repeats(); n != 100 {
		t.Errorf("%d repeats saved up, want 100", n)
	}
}

func BenchmarkChoose(b *testing.B) {
	all := group("uuuuu")
	all[1].Weight = 3
	for name, p := range map[string]decide.Policy{"round_robin": decide.RoundRobin, "least": decide.LeastInFlight, "hash": decide.Hash} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				decide.Choose(decide.Input{Policy: p, Panic: 50, Round: n, Key: n}, all)
			}
		})
	}
}

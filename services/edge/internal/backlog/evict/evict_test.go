package evict_test

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog/evict"
)

type claim = evict.Claim[int]

func TestChoose(t *testing.T) {
	const ms = time.Millisecond
	timeouts := evict.Timeouts{Stall: 2 * time.Second, Pressure: 250 * ms}
	w := evict.Window{Conn: 100, First: 10, Most: 40}
	for name, c := range map[string]struct {
		all  []claim
		want []time.Duration // how long the aborted ones have waited
	}{
		"nothing waits":               {nil, nil},
		"half of the window":          {[]claim{{0, time.Hour, 25}, {0, time.Hour, 25}}, nil},
		"the one that waited longest": {[]claim{{0, 3 * time.Second, 30}, {0, time.Minute, 30}}, []time.Duration{time.Minute}},
		"as many as needed": {
			[]claim{{0, 3 * time.Second, 20}, {0, 4 * time.Second, 20}, {0, 5 * time.Second, 20}, {0, 6 * time.Second, 20}},
			[]time.Duration{6 * time.Second, 5 * time.Second},
		},
		"below the stall timeout":      {[]claim{{0, 1900 * ms, 30}, {0, 300 * ms, 30}}, nil},
		"three quarters of the window": {[]claim{{0, 300 * ms, 40}, {0, 400 * ms, 40}}, []time.Duration{400 * ms}},
		"a write that just began":      {[]claim{{0, ms, 40}, {0, ms, 40}, {0, ms, 40}}, nil},
		"one old write among new ones": {[]claim{{0, ms, 40}, {0, ms, 40}, {0, time.Minute, 40}}, nil},
		"all of them":                  {[]claim{{0, time.Second, 90}, {0, time.Second, 90}}, []time.Duration{time.Second, time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []time.Duration
			for _, c := range evict.Choose(w, timeouts, c.all) {
				got = append(got, c.Waited)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("aborted those that waited %v, want %v", got, c.want)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	w := evict.Window{Conn: 1000, First: 10, Most: 100}
	for took, want := range map[int64]int64{0: 10, 1: 14, 20: 90, 23: 100, 1 << 40: 100} {
		if got := evict.Held(w, took); got != want {
			t.Errorf("after %d bytes %d, want %d", took, got, want)
		}
	}
}

package look

import (
	"testing"
	"time"
)

// What the wall clock moved more than the monotonic one is the host's sleep.
func TestSleep(t *testing.T) {
	for _, tc := range []struct {
		awake, asleep time.Duration
		want          bool
	}{
		{5 * time.Second, 0, false},
		{5 * time.Second, 9 * time.Second, false},
		{5 * time.Second, 11 * time.Second, true},
		{5 * time.Second, -time.Hour, false},
	} {
		if got := slept(tc.awake, tc.awake+tc.asleep); got != tc.want {
			t.Errorf("slept(%v, %v) = %v, want %v", tc.awake, tc.awake+tc.asleep, got, tc.want)
		}
	}
}

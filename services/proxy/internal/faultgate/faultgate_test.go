package faultgate_test

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/faultgate"
)

func TestGate(t *testing.T) {
	var g faultgate.Gate
	t0 := time.Unix(1000, 0)
	for i, tc := range []struct {
		kind       string
		after      time.Duration
		ok         bool
		suppressed int
	}{
		{"dial", 0, true, 0},
		{"dial", time.Second, false, 0},
		{"tls", time.Second, true, 0},
		{"dial", faultgate.QuietPeriod - 1, false, 0},
		{"dial", faultgate.QuietPeriod, true, 2},
		{"dial", 2 * faultgate.QuietPeriod, true, 0},
	} {
		if ok, n := g.Pass(tc.kind, t0.Add(tc.after)); ok != tc.ok || n != tc.suppressed {
			t.Errorf("%d: Pass(%s) = %v, %d, want %v, %d", i, tc.kind, ok, n, tc.ok, tc.suppressed)
		}
	}
}

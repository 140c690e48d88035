package probe

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetry(t *testing.T) {
	for name, tc := range map[string]struct {
		succeedAt int
		budget    time.Duration
		want      []time.Duration // times of the attempts
		ok        bool
	}{
		"at once":         {1, Budget, []time.Duration{0}, true},
		"at the second":   {2, Budget, []time.Duration{0, time.Second}, true},
		"never":           {9, Budget, []time.Duration{0, time.Second, 3 * time.Second}, false},
		"out of budget":   {9, 2 * time.Second, []time.Duration{0, time.Second}, false},
		"no time for two": {2, time.Millisecond, []time.Duration{0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.budget)
				defer cancel()
				begin := time.Now()
				var attempts []time.Duration
				ok := retry(ctx, func() bool {
					attempts = append(attempts, time.Since(begin))
					return len(attempts) == tc.succeedAt
				})
				if ok != tc.ok || !slices.Equal(attempts, tc.want) {
					t.Errorf("retry = %v after attempts at %v, want %v after %v", ok, attempts, tc.ok, tc.want)
				}
			})
		})
	}
}

package front

import (
	"testing"
	"testing/synctest"
	"time"
)

// White box: what is too slow depends on time spent waiting, which a test with sockets cannot control.
func TestBodyRate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		bytes int
		slow  bool
	}{
		"a byte now and then": {4 * time.Minute, 1, true},
		"just fast enough":    {time.Minute, 6000, false},
		"fast":                {time.Second, 1 << 20, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := bodyRate{rate: 100, grace: 5 * time.Minute}
			slow := false
			for range 100 {
				p.begin()
				time.Sleep(c.every) //nolint:forbidigo // fake time
				slow = slow || p.tooSlow(c.bytes)
			}
			if slow != c.slow {
				t.Errorf("%s: too slow = %v", name, slow)
			}
		})
	}
	var none bodyRate
	none.begin()
	if none.tooSlow(0) {
		t.Error("a body is too slow without a rate")
	}
}

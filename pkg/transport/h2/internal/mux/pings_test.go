package mux

import (
	"testing"
	"time"
)

func TestPings(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	var p pings
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	if got := p.acknowledged(at(0)); got != 0 {
		t.Errorf("an acknowledgement of nothing measured %v", got)
	}
	p.sent(at(0))
	if got := p.acknowledged(at(20 * ms)); got != 20*ms {
		t.Errorf("one ping measured %v", got)
	}
	p.sent(at(100 * ms))
	p.sent(at(600 * ms))
	for range 2 {
		if got := p.acknowledged(at(3000 * ms)); got != 0 {
			t.Errorf("two pings during a silence measured %v", got)
		}
	}
	p.sent(at(4000 * ms))
	if got := p.acknowledged(at(4030 * ms)); got != 30*ms {
		t.Errorf("the next ping measured %v", got)
	}
	for _, c := range []struct{ measured, sample, want int64 }{{0, 80, 80}, {80, 40, 40}, {40, 120, 50}} {
		if got := smooth(c.measured, c.sample); got != c.want {
			t.Errorf("smooth(%d, %d) = %d, want %d", c.measured, c.sample, got, c.want)
		}
	}
}

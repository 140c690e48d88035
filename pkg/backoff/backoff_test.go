package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
)

func TestCeiling(t *testing.T) {
	slot := backoff.Slot()
	for failures, want := range []time.Duration{1, 2, 4, 8, 16, 32, 32, 32} {
		if got := slot.Ceiling(failures); got != want*time.Second {
			t.Errorf("Ceiling(%d): got %v, want %v", failures, got, want*time.Second)
		}
	}
	for _, p := range []backoff.Policy{
		{Base: time.Second, Retries: 34},
		{Base: 10 * time.Second, Retries: 30},
		{Base: math.MaxInt64, Retries: 1},
		{Base: 1, Retries: math.MaxInt},
	} {
		if got := p.Ceiling(math.MaxInt); got != backoff.MaxDelay && p.Retries > 1 || got <= 0 || got > backoff.MaxDelay {
			t.Errorf("%+v: got %v, want the clamp %v", p, got, backoff.MaxDelay)
		}
	}
	if got := slot.Ceiling(-3); got != time.Second {
		t.Errorf("Ceiling(-3): got %v, want 1s", got)
	}
	if got := (backoff.Policy{}).Wait(1, nil); got != 0 {
		t.Errorf("Wait of the zero policy: got %v, want 0", got)
	}
}

func TestWaitIsFullJitter(t *testing.T) {
	slot := backoff.Slot()
	lowest := func(int64) int64 { return 0 }
	highest := func(n int64) int64 { return n - 1 }
	for failures := 1; failures < 10; failures++ {
		if got := slot.Wait(failures, lowest); got != 0 {
			t.Errorf("lowest wait %d: got %v, want 0", failures, got)
		}
		if got, want := slot.Wait(failures, highest), slot.Ceiling(failures)-1; got != want {
			t.Errorf("highest wait %d: got %v, want %v", failures, got, want)
		}
	}
}

func TestCounter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var c backoff.Counter
	for want := 1; want <= 3; want++ {
		if c = c.Failed(now); c.Failures != want {
			t.Fatalf("failures: got %d, want %d", c.Failures, want)
		}
	}
	if got := c.Succeeded(now, 0); got != (backoff.Counter{}) {
		t.Errorf("after a success without grace: got %+v", got)
	}
	c = c.Succeeded(now, time.Minute)
	if got := c.Failed(now.Add(time.Second)).Failures; got != 4 {
		t.Errorf("failure within the grace: got %d, want 4", got)
	}
	if got := c.Failed(now.Add(time.Minute)).Failures; got != 1 {
		t.Errorf("failure after the grace: got %d, want 1", got)
	}
	if got := (backoff.Counter{Failures: math.MaxInt}).Failed(now).Failures; got != math.MaxInt {
		t.Errorf("the count overflowed: %d", got)
	}
}

func TestValidate(t *testing.T) {
	if err := backoff.Slot().Validate(); err != nil {
		t.Error(err)
	}
	for _, p := range []backoff.Policy{{}, {Base: -1}, {Base: 1, Retries: -1}} {
		if p.Validate() == nil {
			t.Errorf("%+v is valid", p)
		}
	}
}

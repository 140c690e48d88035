package testkit

import (
	"testing"
	"time"
)

// Patience bounds every wait for an event that a test expects. It is long because machines that run tests are often
// busy; it is only reached when a test fails.
const Patience = time.Minute

// Intervals between two checks of a condition: short at first, longer when the condition takes its time.
const (
	firstInterval = time.Millisecond
	maxInterval   = 25 * time.Millisecond
)

// Eventually waits until cond returns true. It fails the test after Patience; what names the condition in the message,
// as in "two connections are registered".
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !poll(Patience, cond) {
		t.Fatalf("not true within %v: %s", Patience, what)
	}
}

// Retry calls try until it returns nil. It fails the test with the last error after limit.
func Retry(t testing.TB, what string, limit time.Duration, try func() error) {
	t.Helper()
	var err error
	if !poll(limit, func() bool { err = try(); return err == nil }) {
		t.Fatalf("%s: no success within %v, last error: %v", what, limit, err)
	}
}

// poll checks a condition at growing intervals and reports whether it became true before the limit.
func poll(limit time.Duration, cond func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	interval := firstInterval
	next := time.NewTimer(interval)
	defer next.Stop()
	for !cond() {
		select {
		case <-next.C:
			interval = min(interval*2, maxInterval)
			next.Reset(interval)
		case <-deadline.C:
			return cond()
		}
	}
	return true
}

// Receive returns the next value of ch, or the zero value when ch is closed. It fails the test after Patience; what
// names the awaited value, as in "the result of Run".
func Receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	v, ok := receive(Patience, ch)
	if !ok {
		t.Fatalf("nothing received within %v: %s", Patience, what)
	}
	return v
}

func receive[T any](limit time.Duration, ch <-chan T) (v T, ok bool) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	select {
	case v = <-ch:
		return v, true
	case <-deadline.C:
		return v, false
	}
}

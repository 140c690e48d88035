package lease

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The first dial over another protocol does not wait for the backoff of the former one. The failures still count.
func TestSkipBackoff(t *testing.T) {
	now := time.Unix(1e9, 0)
	m, step := stepped(t, &now)
	step(Event{Kind: EventGranted, Grant: grant(5, 1, 0)})
	for i := 1; i <= 3; i++ {
		e := DialFailure(conn(tunnel.ReasonDial), true)
		e.SkipBackoff = i == 3
		step(e)
		want := time.Second << i
		if e.SkipBackoff {
			want = 2 * time.Second
		}
		if got := m.notBefore.Sub(now); got != want || m.retries != i {
			t.Errorf("failure %d: waits %v after %d retries, want %v", i, got, m.retries, want)
		}
		step(Event{Kind: EventTimer})
		step(Event{Kind: EventRotated, Edge: addr(i)})
		now = now.Add(time.Minute)
		step(Event{Kind: EventTimer})
	}
}

// stepped makes a machine, and the function that gives it an event at the time that now points to.
func stepped(t *testing.T, now *time.Time) (m *Machine, step func(Event)) {
	t.Helper()
	m = NewMachine(testPolicy())
	return m, func(e Event) {
		t.Helper()
		if _, err := m.Step(*now, e); err != nil {
			t.Fatal(err)
		}
	}
}

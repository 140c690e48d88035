package lease

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestAnotherAddressIsTriedAtOnce: the backoff is for the address that failed. A slot that was connected tries a few others without a wait;
// one whose connections do not last does not.
func TestAnotherAddressIsTriedAtOnce(t *testing.T) {
	m := NewMachine(testPolicy())
	now := time.Unix(1e9, 0)
	step := func(e Event) {
		t.Helper()
		if _, err := m.Step(now, e); err != nil {
			t.Fatal(err)
		}
	}
	connect := func() {
		t.Helper()
		step(Event{Kind: EventDialed})
		step(Event{Kind: EventRegistered})
	}
	// want moves the slot to the n-th address, which has to start after wait.
	want := func(n int, wait time.Duration) {
		t.Helper()
		step(Event{Kind: EventGranted, Grant: grant(tunnel.Epoch(10+n), n, 0)})
		if got := max(m.notBefore.Sub(now), 0); m.phase == PhaseDialing && wait > 0 || m.phase == PhaseWaiting && got != wait {
			t.Errorf("address %d: %v, after %v, want after %v", n, m.phase, got, wait)
		}
		now = now.Add(wait)
		if m.phase == PhaseWaiting {
			step(Event{Kind: EventTimer})
		}
	}
	want(1, 0)
	connect()
	now = now.Add(steadyTime)
	step(Loss(conn(tunnel.ReasonClosed), false))
	want(2, 0)
	step(DialFailure(conn(tunnel.ReasonDial), false))
	want(3, 0)
	step(DialFailure(conn(tunnel.ReasonTLS), false))
	want(4, 0)
	step(DialFailure(conn(tunnel.ReasonDial), false))
	want(5, 16*time.Second) // the fourth failure: the moves without a wait are used up
	connect()
	step(Loss(conn(tunnel.ReasonPeerClosed), false)) // at once: nothing is given back
	want(6, 2*time.Second)
	connect()
	now = now.Add(steadyTime)
	step(Loss(conn(tunnel.ReasonPeerClosed), false))
	want(6, 2*time.Second) // the same address
	connect()
	now = now.Add(steadyTime)
	step(Loss(conn(tunnel.ReasonPeerClosed), false))
	want(7, 0)
}

// TestClosedPortIsLeftAtOnce: a dial that finds the port closed waits for no grant.
func TestClosedPortIsLeftAtOnce(t *testing.T) {
	for reason, want := range map[tunnel.Reason]time.Duration{tunnel.ReasonClosed: 0, tunnel.ReasonDial: testPolicy().NewGrant} {
		m := NewMachine(testPolicy())
		now := time.Unix(1e9, 0)
		for _, e := range []Event{{Kind: EventGranted, Grant: grant(5, 1, 0)}, DialFailure(conn(reason), false)} {
			if _, err := m.Step(now, e); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.Deadline().Sub(now); m.Phase() != PhaseParked || got != want {
			t.Errorf("%s: %v for %v, want parked for %v", reason, m.Phase(), got, want)
		}
	}
}

package lease

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestAnotherAddressIsTriedAtOnce: the backoff is for the address that failed. A slot that was connected tries a few others without a wait;
// one whose connections do not last does not.
func TestAnotherAddressIsTriedAtOnce(t *testing.T) {
	now := time.Unix(1e9, 0)
	m, step := stepped(t, &now)
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
	now = now.Add(lastingTime)
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
	now = now.Add(SteadyTime)
	step(Loss(conn(tunnel.ReasonPeerClosed), false))
	want(6, 2*time.Second) // the same address
	connect()
	now = now.Add(SteadyTime)
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

// TestRefusedDials: dials that are refused at once are repeated after short waits, one address after the other, and do not count as
// failures for a while.
func TestRefusedDials(t *testing.T) {
	now := time.Unix(1e9, 0)
	m, step := stepped(t, &now)
	step(Event{Kind: EventGranted, Grant: grant(5, 1, 0)})
	for i := 1; i <= refusedFree+2; i++ {
		step(DialFailure(conn(tunnel.ReasonClosed), false))
		want, parked, retries := testPolicy().RefusedDelay(i), time.Duration(0), 0
		switch {
		case i == 1:
			want = 0 // another address, at once
		case i > refusedFree:
			want, parked, retries = testPolicy().Delay(i-refusedFree), testPolicy().NewGrant, i-refusedFree
		}
		if got := m.Deadline().Sub(now); m.Phase() != PhaseParked || got != parked || m.Status(0).Retries != retries {
			t.Errorf("dial %d: %v for %v with %d retries, want parked for %v with %d", i, m.Phase(), got, m.Status(0).Retries, parked, retries)
		}
		began := now
		now = m.Deadline()
		step(Event{Kind: EventTimer})
		step(Event{Kind: EventRotated, Edge: addr(1 + i%3)})
		if got := m.Deadline().Sub(began); got != max(want, parked) {
			t.Errorf("dial %d: the next one comes after %v, want %v", i, got, max(want, parked))
		}
		now = m.Deadline()
		step(Event{Kind: EventTimer})
	}
}

// TestShortSessions: sessions that end before they are steady lead to growing waits, which another address and another holder do not end.
func TestShortSessions(t *testing.T) {
	now := time.Unix(1e9, 0)
	m, step := stepped(t, &now)
	connect := func() {
		t.Helper()
		for m.Phase() == PhaseWaiting {
			now = m.Deadline()
			step(Event{Kind: EventTimer})
		}
		step(Event{Kind: EventDialed})
		step(Event{Kind: EventRegistered})
	}
	lose := func() (wait time.Duration) {
		t.Helper()
		step(Loss(conn(tunnel.ReasonPeerClosed), false))
		epoch := m.Grant().Epoch + 1
		step(Event{Kind: EventGranted, Grant: grant(epoch, int(epoch)%5, 0), Past: m.Status(0).Past})
		m.Look(now, 0)
		return max(m.notBefore.Sub(now), 0)
	}
	step(Event{Kind: EventGranted, Grant: grant(5, 1, 0)})
	connect()
	for i, want := range []time.Duration{0, 0, 15 * time.Second, 30 * time.Second, time.Minute} {
		if got := lose(); got != want {
			t.Errorf("session %d: waits %v, want %v", i+1, got, want)
		}
		connect()
	}
	short := m.Status(0).Past
	if short.Short != 5 {
		t.Errorf("%+v, want five short sessions", short)
	}
	other := NewMachine(testPolicy())
	_, err := other.Step(now, Event{Kind: EventGranted, Grant: grant(50, 1, 0), Past: short})
	if got := other.Deadline().Sub(now); err != nil || got != time.Minute {
		t.Errorf("another holder waits %v, %v, want as long as the former one", got, err)
	}
	now = now.Add(SteadyTime)
	step(Event{Kind: EventTimer})
	if got := m.Status(0).Past; got != (Past{}) {
		t.Errorf("a steady session: %+v, want nothing", got)
	}
	if got := lose(); got != 0 {
		t.Errorf("after a steady session: waits %v", got)
	}
}

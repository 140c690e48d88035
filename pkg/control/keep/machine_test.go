package keep_test

import (
	"errors"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestLoop: the connector id first, then the pool and a renewal, and from there a renewal every two seconds.
func TestLoop(t *testing.T) {
	l := newLab(t)
	l.want(keep.Started{}, "call connector 7")
	l.want(keep.Identified{Connector: connector}, "observe; named; call pool main")
	l.want(keep.PoolRead{Pool: pool(2, 2)}, "observe; call renew")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 1.99s")
	l.after(1990*time.Millisecond).want(keep.Timer{}, "call renew")
	l.after(time.Millisecond).want(keep.Renewed{}, "observe; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 1.989s")
	if got := l.m.Connector(); got != connector {
		t.Errorf("Connector() = %v", got)
	}
}

func TestIdentifyBacksOff(t *testing.T) {
	l := newLab(t)
	l.want(keep.Started{}, "call connector 7")
	l.want(keep.Identified{Err: errDown}, "observe error; wake 199.999999ms")
	l.want(keep.Timer{}, "") // of a Wake that was replaced
	l.want(keep.Woken{}, "")
	l.after(200*time.Millisecond).want(keep.Timer{}, "call connector 7")
	for range 8 {
		l.step(keep.Identified{Err: errDown})
		l.after(time.Minute).step(keep.Timer{})
	}
	l.want(keep.Identified{Err: errOdd}, "observe error; wake 3.199999999s")
	l.after(time.Minute).want(keep.Timer{}, "call connector 7")
	// The hint that came meanwhile leads to a second renewal after the rest.
	l.want(keep.Identified{Connector: connector}, "observe; named; call pool main")
}

func TestCandidateFails(t *testing.T) {
	broken := true
	m := keep.NewMachine(keep.Config{}, keep.Deps{
		Candidate: func() (tunnel.ConnectorID, error) {
			if broken {
				return tunnel.ConnectorID{}, errOdd
			}
			return tunnel.ConnectorID{7}, nil
		},
		Backoff: func(n int64) int64 { return n - 1 },
	})
	actions, err := m.Step(start, keep.Started{})
	if len(actions) != 1 || err != nil || describe(actions[0]) != "wake 199.999999ms" {
		t.Errorf("without a candidate: %v, %v, want to wait", actions, err)
	}
	broken = false
	actions, err = m.Step(start.Add(time.Second), keep.Timer{})
	if len(actions) != 1 || err != nil || describe(actions[0]) != "call connector 7" {
		t.Errorf("then: %v, %v, want the call", actions, err)
	}
}

// TestWoken: a hint leads to a renewal at once, or after the one in progress and a short rest; many hints lead to one.
func TestWoken(t *testing.T) {
	l := newLab(t)
	l.running()
	l.want(keep.Woken{}, "")
	l.want(keep.Woken{}, "")
	l.after(10*time.Millisecond).want(keep.Timer{}, "call renew")
	l.want(keep.Woken{}, "")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "call renew")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 1.97s")
	l.after(time.Second).want(keep.Woken{}, "call renew")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 960ms") // the schedule stays
}

// TestSlowStore: the ticks that pass during a call become one renewal, and the schedule stays.
func TestSlowStore(t *testing.T) {
	l := newLab(t)
	l.running()
	l.after(2*time.Second).want(keep.Timer{}, "call renew")
	l.after(5*time.Second).want(keep.Renewed{Err: errDown}, "observe error; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "call renew")
	l.want(keep.Renewed{Err: errOdd}, "observe error; notrenewed; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 980ms")
}

func TestPoolIsReadAgain(t *testing.T) {
	l := newLab(t)
	l.step(keep.Started{})
	l.step(keep.Identified{Connector: connector})
	l.want(keep.PoolRead{Err: tunnel.ErrNotFound}, "call renew") // says nothing about the store
	l.step(keep.Renewed{})
	l.after(2*time.Second).want(keep.Timer{}, "call pool main") // there is none yet
	l.want(keep.PoolRead{Err: errDown}, "observe error; call renew")
	l.step(keep.Renewed{Err: errDown})
	l.after(2*time.Second).want(keep.Timer{}, "call pool main")
	l.want(keep.PoolRead{Pool: pool(2, 2)}, "observe; call renew")
	l.step(keep.Renewed{})
	reads := 0
	for range 30 {
		if got := l.after(2 * time.Second).step(keep.Timer{}); got == "call pool main" {
			reads++
			l.step(keep.PoolRead{Err: errDown})
		}
		l.step(keep.Renewed{})
	}
	if reads != 2 {
		t.Errorf("the pool was read %d times in 30 renewals, want 2", reads)
	}
	if got := l.m.Pool().Count(edgepool.Any); got != 4 {
		t.Errorf("the pool has %d addresses after failed reads, want the last good one with 4", got)
	}
}

func TestUnexpectedReplies(t *testing.T) {
	l := newLab(t)
	l.running()
	for _, e := range []keep.Event{
		keep.Started{}, keep.Identified{}, keep.PoolRead{}, keep.Renewed{}, keep.HolderEnded{Holder: 3}, keep.Released{Holder: 3},
	} {
		if actions, err := l.m.Step(l.now, e); !errors.Is(err, keep.ErrUnexpected) || len(actions) > 0 {
			t.Errorf("%T at rest: %v, %v, want keep.ErrUnexpected", e, actions, err)
		}
	}
}

// TestReports: the newest holder of each slot is reported, and supervisors are woken for changes that they must act on.
func TestReports(t *testing.T) {
	l := newLab(t)
	l.running(record(1, me, 5, addr(0, 0)), record(0, me, 4, addr(1, 0)))
	l.after(2*time.Second).want(keep.Timer{}, "call renew") // no holder has taken its grant yet
	l.want(keep.Renewed{}, "observe; wake 10ms")

	l.views[1] = view(lease.PhaseDialing, lease.StateConnecting, 4, addr(1, 0))
	l.views[2] = connected(5, addr(0, 0))
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@4=connecting 1@5=connected")
	l.want(keep.Renewed{Err: errDown}, "observe error; wake 10ms")
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@4=connecting 1@5=connected")
	l.want(keep.Renewed{}, "observe; hint status; wake 10ms") // the store has it only now

	busy := connected(5, addr(0, 0))
	busy.Status.InFlight = 7
	l.views[2] = busy
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@4=connecting 1@5=connected")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.views[1] = connected(4, addr(1, 0))
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@4=connected 1@5=connected")
	l.want(keep.Renewed{}, "observe; hint status; wake 10ms")

	// A second holder of slot 1 is the one that counts, once it has taken its grant.
	l.renew(record(1, me, 9, addr(0, 1)))
	l.views[3] = view(lease.PhaseWaiting, lease.StateConnecting, 9, addr(0, 1))
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@4=connected 1@9=connecting")
	l.views[1] = view(lease.PhaseEnded, lease.StateFree, 4, addr(1, 0))
	l.step(keep.Renewed{})
	l.after(2*time.Second).want(keep.Timer{}, "call renew 1@9=connecting")
}

func TestReady(t *testing.T) {
	l := newLab(t)
	text := func() string {
		if err := l.m.Ready(); err != nil {
			return err.Error()[len("tunnel 01000000-0000-0000-0000-000000000000: "):]
		}
		return ""
	}
	want := func(want string) {
		t.Helper()
		if got := text(); got != want {
			t.Errorf("Ready() = %q, want %q", got, want)
		}
	}
	want("waiting for the store: the connector id is not known yet")
	l.running()
	want("no slot is granted to this worker")
	other := record(1, "w2", 3, addr(1, 1))
	other.Status.State = lease.StateConnected
	l.renew(dead(other))
	want("no slot is granted to this worker")
	l.renew(other)
	want("") // another worker serves
	l.renew(other, record(0, me, 4, addr(0, 0)))
	want("no connection to the edge: connecting")
	failed := view(lease.PhaseWaiting, lease.StateFailed, 4, addr(0, 0))
	failed.Status.Error = "refused"
	l.views[1] = failed
	want("no connection to the edge: refused")
	l.views[1] = connected(4, addr(0, 0))
	want("")
	if got := l.m.Others(slot(1)); got != 1 {
		t.Errorf("Others(1) = %d, want 1", got)
	}
	if got := l.m.Others(slot(0)); got != 0 {
		t.Errorf("Others(0) = %d, want 0", got)
	}
}

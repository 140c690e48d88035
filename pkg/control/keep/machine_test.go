package keep_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestLoop: the connector id first, then the pool and a renewal, and from there a renewal every two seconds.
func TestLoop(t *testing.T) {
	l := newLab(t)
	l.want(keep.Started{}, "call connector 0")
	l.want(keep.Identified{Connector: connector}, "observe; named 9; call pool main")
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
	l.want(keep.Started{}, "call connector 0")
	l.want(keep.Identified{Err: errDown}, "observe error; wake 199.999999ms")
	l.want(keep.Timer{}, "") // of a Wake that was replaced
	l.want(keep.Woken{}, "")
	l.after(200*time.Millisecond).want(keep.Timer{}, "call connector 0")
	for range 8 {
		l.step(keep.Identified{Err: errDown})
		l.after(time.Minute).step(keep.Timer{})
	}
	l.want(keep.Identified{Err: errOdd}, "observe error; wake 3.199999999s")
	l.after(time.Minute).want(keep.Timer{}, "call connector 0")
	// The hint that came meanwhile leads to a second renewal after the rest.
	l.want(keep.Identified{Connector: connector}, "observe; named 9; call pool main")
}

// others are workers that are registered, this one among them; named says that the other one knows the connector id.
func others(named bool) []fleet.Worker {
	return []fleet.Worker{
		{ID: me, Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{1}}}},
		{ID: "w2", Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{2}, Named: true}, {ID: tunnel.ID{1}, Named: named}}},
	}
}

// TestOffersANewIDSoon: where nothing speaks for a store that lost its data, a new one is offered after the time in which others are asked.
func TestOffersANewIDSoon(t *testing.T) {
	l := newLab(t)
	l.want(keep.Started{}, "call connector 0")
	l.after(time.Millisecond).want(keep.Identified{Err: tunnel.ErrNotFound}, "hint grants; call workers")
	l.after(time.Millisecond).want(keep.Listed{Workers: others(false)}, "observe; call pool main")
	l.after(time.Millisecond).want(keep.PoolRead{Err: tunnel.ErrNotFound}, "wake 199.999999ms") // discovery starts, too
	l.after(200*time.Millisecond).want(keep.Timer{}, "call connector 0")
	l.want(keep.Identified{Err: tunnel.ErrNotFound}, "call workers")
	l.want(keep.Listed{Workers: others(false)}, "observe; call pool main")
	l.want(keep.PoolRead{Pool: pool(2, 2)}, "observe; wake 48ms")
	l.after(48*time.Millisecond).want(keep.Timer{}, "call connector 7")
	l.after(time.Millisecond).want(keep.Identified{Connector: connector}, "observe; named 9; hint status; call pool main")
	if took := l.now.Sub(start); took > 300*time.Millisecond {
		t.Errorf("a new connector id after %v", took)
	}
}

// TestOffersANewIDLate: a worker leaves time for those that know the connector id, and offers a new one only then, and not later.
func TestOffersANewIDLate(t *testing.T) {
	missing := keep.Identified{Err: tunnel.ErrNotFound}
	for name, before := range map[string]func(*lab){
		"others know it": func(l *lab) {
			l.want(missing, "hint grants; call workers")
			l.want(keep.Listed{Workers: others(true)}, "observe; wake 199.999999ms")
		},
		"others are not known": func(l *lab) {
			l.want(missing, "hint grants; call workers")
			l.want(keep.Listed{Err: errDown}, "observe error; wake 199.999999ms")
		},
		"no pool": func(l *lab) {
			l.want(missing, "hint grants; call workers")
			l.want(keep.Listed{}, "observe; call pool main")
			l.want(keep.PoolRead{Err: errDown}, "observe error; wake 199.999999ms")
		},
		"the store came back": func(l *lab) {
			l.want(keep.Identified{Err: errDown}, "observe error; wake 199.999999ms")
			l.after(time.Second).want(keep.Timer{}, "call connector 0")
			l.want(missing, "wake 399.999999ms")
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.want(keep.Started{}, "call connector 0")
			before(l)
			l.after(2400*time.Millisecond).want(keep.Timer{}, "call connector 0")
			if got := l.step(missing); got == "call workers" {
				l.want(keep.Listed{Workers: others(true)}, "observe; wake 100ms")
			} else if got != "wake 100ms" {
				t.Errorf("shortly before the end of the wait: %s", got)
			}
			l.after(100*time.Millisecond).want(keep.Timer{}, "call connector 7")
			l.want(keep.Identified{Connector: connector}, "observe; named 9; hint status; call pool main")
		})
	}
}

// TestConnectorIDIsReadAgain: with the pool, after the store was away, and after a claim, always offering the known one.
func TestConnectorIDIsReadAgain(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)))
	l.views[1] = connected(5, addr(0, 0))
	l.want(keep.Woken{}, "")
	l.after(time.Second).want(keep.Timer{}, "call renew 0@5=connected")
	l.want(keep.Renewed{Table: lease.Table{Claimed: 1}}, "observe; hint status; wake 10ms")
	l.after(2*time.Second).want(keep.Timer{}, "call connector 9")
	l.want(keep.Identified{Err: errDown}, "observe error; call renew 0@5=connected")
	l.want(keep.Renewed{Err: errDown}, "observe error; wake 10ms")
	l.after(2*time.Second).want(keep.Timer{}, "call renew 0@5=connected")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	l.after(2*time.Second).want(keep.Timer{}, "call connector 9")
	l.want(keep.Identified{Connector: connector}, "observe; call renew 0@5=connected")
	l.want(keep.Renewed{}, "observe; wake 10ms")
	asked := 0
	for range 30 {
		got := l.after(2 * time.Second).step(keep.Timer{})
		if got == "call connector 9" {
			asked++
			got = l.step(keep.Identified{Connector: connector})
		}
		if strings.HasSuffix(got, "call pool main") {
			l.step(keep.PoolRead{Pool: pool(2, 2)})
		}
		l.step(keep.Renewed{})
	}
	if asked != 2 {
		t.Errorf("the connector id was read %d times in 30 renewals, want 2", asked)
	}
}

// TestConnectorIDChanges: the sessions stay, the slots are reported under the new id, and holders to come are named by it.
func TestConnectorIDChanges(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)))
	l.views[1] = connected(5, addr(0, 0))
	l.step(keep.Woken{})
	l.after(time.Second).step(keep.Timer{})
	l.step(keep.Renewed{Table: lease.Table{Claimed: 1}})
	l.after(2 * time.Second).step(keep.Timer{})
	l.want(keep.Identified{Connector: tunnel.ConnectorID{8}}, "observe; named 8 was 9; rename 1 to 8; call renew 0@5=connected")
	if got := l.m.Connector(); got != (tunnel.ConnectorID{8}) || holders(l.m) != "0/1" {
		t.Errorf("connector %v, holders %s, want the new id and the old holder", got, holders(l.m))
	}
}

// TestFresh: after a pause that is longer than a lease nothing is done before a look into the store, which may fail.
func TestFresh(t *testing.T) {
	l := newLab(t)
	fresh := func(want bool) {
		t.Helper()
		if got := l.m.Fresh(l.now); got != want {
			t.Errorf("Fresh() = %v, want %v", got, want)
		}
	}
	fresh(true)
	l.running()
	l.after(lease.LeaseTTL)
	fresh(true)
	l.after(time.Millisecond)
	fresh(false)
	l.step(keep.Timer{})
	fresh(false)
	l.step(keep.Renewed{})
	fresh(true)
	l.after(20 * time.Second).step(keep.Timer{})
	l.after(time.Minute).step(keep.Renewed{}) // stopped between the call and its reply
	fresh(false)
	l.after(2 * time.Second).step(keep.Timer{})
	l.after(2 * time.Second).step(keep.Renewed{Err: errDown}) // it looked, and there is nothing to see
	fresh(true)
}

// TestDamageIsToldOnce: a slot that cannot be read hides no other one.
func TestDamageIsToldOnce(t *testing.T) {
	l := newLab(t)
	l.running()
	bad := lease.Table{
		Damaged: []lease.Damaged{{Index: 3, Reason: "edge"}}, Records: []lease.Record{record(0, me, 5, addr(0, 0))},
	}
	renew := func(table lease.Table, want string) {
		t.Helper()
		l.after(2 * time.Second).step(keep.Timer{})
		l.want(keep.Renewed{Table: table}, want)
	}
	renew(bad, "observe; damaged slot 3: edge; start 1 of slot 0; send 1 granted 5; wake 10ms")
	renew(bad, "observe; wake 10ms")
	renew(lease.Table{}, "observe; wake 10ms")
	renew(bad, "observe; damaged slot 3: edge; wake 10ms")
}

// TestGivesBackWhatItCannotTake: a store that lost data grants an epoch that this worker had before. It wants a newer one.
func TestGivesBackWhatItCannotTake(t *testing.T) {
	l := newLab(t)
	l.running(record(0, me, 5, addr(0, 0)))
	l.want(keep.HolderEnded{Holder: 1}, "call release 0@5")
	if got := l.renew(record(0, me, 5, addr(0, 0))); got != "observe; wake 10ms" {
		t.Errorf("while the release is on its way: %s", got)
	}
	l.step(keep.Released{Holder: 1, Err: errDown})
	if got := l.renew(record(0, me, 3, addr(0, 0))); got != "observe; call release 0@5; wake 10ms" {
		t.Errorf("an older epoch: %s", got)
	}
	l.want(keep.Released{Holder: 2}, "observe; hint status; gone")
	if got := l.renew(dead(record(0, me, 3, addr(0, 0)))); got != "observe; wake 10ms" {
		t.Errorf("an older epoch that has run out: %s", got)
	}
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
	now := start
	step := func(e keep.Event) ([]keep.Action, error) { return m.Step(now, e) }
	_, _ = step(keep.Started{})
	_, _ = step(keep.Identified{Err: tunnel.ErrNotFound})
	_, _ = step(keep.Listed{Err: errDown})
	now = now.Add(time.Minute)
	actions, err := step(keep.Timer{})
	if len(actions) != 1 || err != nil || describe(actions[0]) != "wake 399.999999ms" {
		t.Errorf("without a candidate: %v, %v, want to wait", actions, err)
	}
	broken = false
	now = now.Add(time.Second)
	actions, err = step(keep.Timer{})
	if len(actions) != 1 || err != nil || describe(actions[0]) != "call connector 7" {
		t.Errorf("then: %v, %v, want the call", actions, err)
	}
}

// TestAlone: a keeper whose store nobody else uses offers a connector id at once.
func TestAlone(t *testing.T) {
	l := newLab(t, func(c *keep.Config) { c.Alone = true })
	l.want(keep.Started{}, "call connector 7")
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
		got := l.after(2 * time.Second).step(keep.Timer{})
		if strings.HasPrefix(got, "call connector") {
			got = l.step(keep.Identified{Connector: connector})
		}
		if strings.HasSuffix(got, "call pool main") {
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
	l.after(2*time.Second).want(keep.Timer{}, "call connector 9")
	l.want(keep.Identified{Connector: connector}, "observe; call renew 0@4=connecting 1@5=connected")
	l.want(keep.Renewed{}, "observe; wake 10ms")

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

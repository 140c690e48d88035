package keep_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
)

func leased(c *keep.Config) { c.Instance = "a" }

// of makes a record one of a process.
func of(r lease.Record, instance string) lease.Record {
	r.Instance = instance
	return r
}

// settled is a keeper of a process with a lease, whose only slot is connected and reported.
func settled(t *testing.T) *lab {
	t.Helper()
	l := newLab(t, leased)
	r := of(record(0, me, 5, addr(0, 0)), "a")
	l.running(r)
	l.views[1] = connected(5, addr(0, 0))
	l.after(10 * time.Millisecond).step(keep.Timer{})
	l.want(keep.Woken{}, "call renew 0@5=connected")
	r.Status.State = lease.StateConnected
	l.want(keep.Renewed{Table: lease.Table{Records: []lease.Record{r}}}, "observe; mark; wake 10ms")
	return l
}

// TestSteadyCostsNothing: with one lease for all slots, a slot at which nothing happens is read every few minutes only.
func TestSteadyCostsNothing(t *testing.T) {
	l := settled(t)
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 4m59.989999999s")
	for range 100 {
		l.after(2*time.Second).want(keep.Looked{Sent: l.now}, "")
	}
	if !l.m.Fresh(l.now) {
		t.Error("a worker that renews its lease is not fresh")
	}
	l.after(100*time.Second).want(keep.Timer{}, "call connector 0") // it is only read
	l.want(keep.Identified{Connector: connector}, "observe; call pool main")
	l.want(keep.PoolRead{Pool: pool(2, 2)}, "observe; call renew 0@5=connected")
}

// TestLooks: what the renewal of the lease shows leads to a look, and so does a status that has changed by itself.
func TestLooks(t *testing.T) {
	for name, tc := range map[string]struct {
		look keep.Looked
		then func(l *lab)
	}{
		"news": {look: keep.Looked{News: true}},
		"lost": {look: keep.Looked{Lost: true}, then: func(l *lab) {
			// The slots first: whoever finds the connector id again finds them, too.
			l.want(keep.Renewed{Table: lease.Table{Claimed: 1}}, "observe; wake 10ms")
			l.after(10*time.Millisecond).want(keep.Timer{}, "call connector 9")
		}},
		"a change": {then: func(*lab) {}},
	} {
		t.Run(name, func(t *testing.T) {
			l := settled(t)
			l.after(10 * time.Millisecond).step(keep.Timer{})
			if tc.look == (keep.Looked{}) {
				v := l.views[1]
				v.Status.Location = "elsewhere"
				l.views[1] = v
			}
			l.after(time.Second).want(tc.look, "call renew 0@5=connected")
			if tc.then != nil {
				tc.then(l)
			}
		})
	}
}

// TestWaitingForANewerHolder: until that one is connected, the slots are read every two seconds.
func TestWaitingForANewerHolder(t *testing.T) {
	l := settled(t)
	l.after(10 * time.Millisecond).step(keep.Timer{})
	l.want(keep.Looked{News: true}, "call renew 0@5=connected")
	newer := of(record(0, "w2", 6, addr(1, 0)), "b")
	l.want(keep.Renewed{Table: lease.Table{Records: []lease.Record{newer}}}, "observe; send 1 newer 6; wake 10ms")
	l.after(10*time.Millisecond).want(keep.Timer{}, "wake 1.99s")
	l.after(1990*time.Millisecond).want(keep.Timer{}, "call renew 0@5=connected")
}

// TestOtherProcessOfTheWorker: a slot of a process that had the id before is left to the supervisors for a while, then given back, and
// never taken over.
func TestOtherProcessOfTheWorker(t *testing.T) {
	l := newLab(t, leased)
	former := of(record(0, me, 5, addr(0, 0)), "z")
	if got := l.running(former); strings.Contains(got, "release") || strings.Contains(got, "start") {
		t.Errorf("with a slot of a former process: %s, want it left alone", got)
	}
	for range 3 {
		l.after(10 * time.Millisecond).step(keep.Timer{})
		l.after(1990*time.Millisecond).want(keep.Timer{}, "call renew")
		last := l.step(keep.Renewed{Table: lease.Table{Records: []lease.Record{former}}})
		if got, want := strings.Contains(last, "call release 0@5"), l.now.Sub(start) >= 5*time.Second; got != want {
			t.Errorf("after %v: %s, want it released after 5 s", l.now.Sub(start), last)
		}
	}
	l = newLab(t, leased)
	l.step(keep.Looked{Err: &fleet.TakenError{ID: me}})
	l.step(keep.Started{})
	l.step(keep.Identified{Connector: connector})
	l.step(keep.Looked{Err: &fleet.TakenError{ID: me}})
	l.step(keep.PoolRead{Pool: pool(2, 2)})
	if got := l.step(keep.Renewed{Table: lease.Table{Records: []lease.Record{former}}}); strings.Contains(got, "release") {
		t.Errorf("while another process has the id: %s, want nothing released", got)
	}
	// One of a supervisor that knows no instances is taken.
	l = newLab(t, leased)
	if got := l.running(record(0, me, 5, addr(0, 0))); !strings.Contains(got, "start 1 of slot 0") {
		t.Errorf("a grant without an instance: %s, want it taken", got)
	}
	if n := l.m.Count(); n != 1 {
		t.Errorf("%d holders", n)
	}
}

package register_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/register"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// tenant is a worker that keeps one lease for all its slots.
type tenant struct {
	t      *testing.T
	m      *register.Machine
	now    time.Time
	record fleet.Worker
}

func newTenant(t *testing.T) *tenant {
	t.Helper()
	l := &tenant{t: t, now: time.Unix(1e9, 0), record: fleet.Worker{ID: "w1", Instance: "a"}}
	l.m = register.NewMachine("w1", 30*time.Second, register.Deps{
		Record: func() fleet.Worker { return l.record }, Held: func() int { return 0 }, StoreUp: func() bool { return true },
	})
	return l
}

func (l *tenant) after(d time.Duration) *tenant {
	l.now = l.now.Add(d)
	return l
}

// want hands an event over and compares the actions, without the wakes.
func (l *tenant) want(e register.Event, want string) {
	l.t.Helper()
	var words []string
	for _, a := range l.m.Step(l.now, e) {
		switch a := a.(type) {
		case register.Wake:
		case register.Observe:
		case register.CallRenew:
			text := fmt.Sprintf("renew %d after %d full=%v inbox=%d", a.Number, a.Confirmed, a.Full, a.Inbox)
			if a.Replaces != "" {
				text += " replaces=" + a.Replaces
			}
			words = append(words, text)
		case register.CallInspect:
			words = append(words, "inspect "+a.Instance)
		case register.Looked:
			words = append(words, fmt.Sprintf("looked err=%v lost=%v tunnels=%d", a.Err != nil, a.Lost, len(a.Tunnels)))
		case register.Hint:
			words = append(words, "hint "+a.Topic)
		case register.CallRemove:
			words = append(words, "remove "+string(a.ID)+" "+a.Instance)
		default:
			words = append(words, strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", a), "register.")))
		}
	}
	if got := strings.Join(words, "; "); got != want {
		l.t.Errorf("%T:\n got %q\nwant %q", e, got, want)
	}
}

func ok(generation, inbox uint64, tunnels ...tunnel.ID) register.Renewed {
	return register.Renewed{Reply: fleet.Renewed{Generation: generation, Inbox: inbox, Tunnels: tunnels}}
}

func taken(until time.Duration) register.Renewed {
	return register.Renewed{Reply: fleet.Renewed{Taken: &fleet.Taken{By: fleet.Worker{Host: "h2"}, Until: until}}}
}

// holding brings the worker to where it has its lease.
func holding(t *testing.T) *tenant {
	t.Helper()
	l := newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(ok(5, 7), "acquired; looked err=false lost=false tunnels=0; hint fleet")
	return l
}

func TestLease(t *testing.T) {
	l := holding(t)
	l.after(time.Second).want(register.Timer{}, "")
	l.after(time.Second).want(register.Timer{}, "renew 2 after 1 full=false inbox=7")
	l.want(ok(5, 8, tunnel.ID{1}), "looked err=false lost=false tunnels=1")
	l.want(register.Hinted{}, "")
	l.after(10*time.Millisecond).want(register.Timer{}, "renew 3 after 2 full=false inbox=8")
	l.want(register.Renewed{Err: errOdd}, "looked err=true lost=false tunnels=0")
	l.record.Capacity = 9 // the record has changed
	l.after(2*time.Second).want(register.Timer{}, "renew 4 after 2 full=true inbox=8")
	l.want(ok(6, 8), "looked err=false lost=true tunnels=0; hint fleet")
	l.after(2*time.Second).want(register.Timer{}, "renew 5 after 4 full=true inbox=8") // the store may have lost the record, too
	l.want(ok(6, 8), "looked err=false lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 6 after 5 full=false inbox=8")
	l.want(register.Renewed{Reply: fleet.Renewed{Unknown: true}}, "renew 7 after 5 full=true inbox=8")
	l.want(register.Renewed{Reply: fleet.Renewed{New: true, Generation: 6}}, "looked err=false lost=true tunnels=0")
}

// TestSecondProcess: a process whose id another one has waits while the lease of that one does not move, and ends when it does.
func TestSecondProcess(t *testing.T) {
	l := newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(taken(8*time.Second), "looked err=true lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 2 after 0 full=true inbox=0")
	l.want(taken(8*time.Second), "looked err=true lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 3 after 0 full=true inbox=0")
	l.want(ok(5, 0), "acquired; looked err=false lost=false tunnels=0; hint fleet")

	l = newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(taken(8*time.Second), "looked err=true lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 2 after 0 full=true inbox=0")
	l.want(taken(10*time.Second), "refused")
	l.after(2*time.Second).want(register.Timer{}, "")

	l = newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(register.Leave{}, "left")
}

// TestFormerProcess: a process whose id one has that has ended for certain does not wait for its lease; only that one is replaced.
func TestFormerProcess(t *testing.T) {
	by := func(until time.Duration, instance string) register.Renewed {
		r := taken(until)
		r.Reply.Taken.By.Instance = instance
		return r
	}
	l := newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(by(8*time.Second, "z"), "inspect z; looked err=true lost=false tunnels=0")
	l.want(register.Inspected{Instance: "z", Ended: true}, "renew 2 after 0 full=true inbox=0 replaces=z")
	l.want(register.Renewed{Reply: fleet.Renewed{New: true, Generation: 5}}, "acquired; looked err=false lost=false tunnels=0; hint fleet")
	l.after(2*time.Second).want(register.Timer{}, "renew 3 after 2 full=false inbox=0")

	l = newTenant(t)
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(by(8*time.Second, "z"), "inspect z; looked err=true lost=false tunnels=0")
	l.want(register.Inspected{Instance: "z"}, "")
	l.after(2*time.Second).want(register.Timer{}, "renew 2 after 0 full=true inbox=0")
	l.want(by(8*time.Second, "z"), "looked err=true lost=false tunnels=0")

	l = newTenant(t) // a third process was quicker
	l.want(register.Started{}, "renew 1 after 0 full=true inbox=0")
	l.want(by(8*time.Second, "z"), "inspect z; looked err=true lost=false tunnels=0")
	l.want(register.Inspected{Instance: "z", Ended: true}, "renew 2 after 0 full=true inbox=0 replaces=z")
	l.want(by(9*time.Second, "y"), "refused")

	l = holding(t)
	l.want(register.Inspected{Instance: "z", Ended: true}, "")
}

// TestDisplaced: a process that lost its id while it could not renew its lease goes on, and says so once.
func TestDisplaced(t *testing.T) {
	l := holding(t)
	l.after(time.Minute).want(register.Timer{}, "renew 2 after 1 full=false inbox=7")
	l.want(taken(8*time.Second), "displaced; looked err=true lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 3 after 1 full=false inbox=7")
	l.want(taken(10*time.Second), "looked err=true lost=false tunnels=0")
	l.after(2*time.Second).want(register.Timer{}, "renew 4 after 1 full=false inbox=7")
	l.want(register.Renewed{Reply: fleet.Renewed{New: true, Generation: 5}}, "looked err=false lost=true tunnels=0; hint fleet")
	l.want(register.Leave{}, "refusegrants; renew 5 after 4 full=true inbox=0")
	l.want(register.Renewed{Err: errors.New("away")}, "looked err=true lost=false tunnels=0; drain; remove w1 a")
}

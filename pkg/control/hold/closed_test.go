package hold_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// runner executes the actions of a machine in any order that a worker may: results arrive late, or together with other events.
type runner struct {
	t       *testing.T
	random  *rand.Rand
	m       *hold.Machine
	now     time.Time
	pending []hold.Event // results to come
	open    map[hold.Attempt]bool
	serving map[hold.Attempt]bool
	using   hold.Attempt
}

func (r *runner) step(e hold.Event) {
	r.t.Helper()
	late := false
	before := r.m.View()
	if a, isResult := attemptOf(e); isResult {
		late = a != r.m.Attempt()
	}
	actions, err := r.m.Step(r.now, e)
	if err != nil {
		r.t.Fatalf("%+v: %v", e, err)
	}
	if late && r.m.View() != before {
		r.t.Fatalf("the late result %+v changed %+v to %+v", e, before, r.m.View())
	}
	for _, a := range actions {
		r.do(a)
	}
}

func attemptOf(e hold.Event) (hold.Attempt, bool) {
	switch e := e.(type) {
	case hold.Dialed:
		return e.Attempt, true
	case hold.Registered:
		return e.Attempt, true
	case hold.Ended:
		return e.Attempt, true
	case hold.Drained:
		return e.Attempt, true
	default:
		return hold.Attempt{}, false
	}
}

func (r *runner) fails() error {
	reasons := []tunnel.Reason{
		tunnel.ReasonDial, tunnel.ReasonTLS, tunnel.ReasonBlocked, tunnel.ReasonDuplicate, tunnel.ReasonRefused, tunnel.ReasonRPC,
		tunnel.ReasonIdle, tunnel.ReasonPeerClosed, tunnel.ReasonClosed,
	}
	return &tunnel.ConnError{
		Reason: reasons[r.random.IntN(len(reasons))], Retryable: r.random.IntN(2) == 0, Err: errors.New("cause"),
	}
}

func (r *runner) do(a hold.Action) {
	r.t.Helper()
	switch a := a.(type) {
	case hold.Dial:
		if r.using != (hold.Attempt{}) {
			r.t.Fatalf("attempt %d begins before attempt %d was closed", a.Attempt.Number, r.using.Number)
		}
		r.using = a.Attempt
		d := hold.Dialed{Attempt: a.Attempt}
		if r.random.IntN(3) == 0 {
			d.Err = r.fails()
		}
		r.pending = append(r.pending, d)
	case hold.Register:
		e := hold.Registered{Attempt: a.Attempt}
		if r.random.IntN(3) == 0 {
			e.Err = r.fails()
		}
		r.pending = append(r.pending, e)
	case hold.Serve:
		r.serving[a.Attempt] = true
		if r.random.IntN(2) == 0 {
			r.pending = append(r.pending, hold.Ended{Attempt: a.Attempt, Err: r.fails()})
		}
	case hold.Unregister:
		if !r.serving[a.Attempt] {
			r.t.Fatalf("attempt %d is unregistered and was not registered", a.Attempt.Number)
		}
	case hold.Drain:
		r.pending = append(r.pending, hold.Drained{Attempt: a.Attempt})
	case hold.Close:
		delete(r.open, a.Attempt)
		if a.Attempt == r.using {
			r.using = hold.Attempt{}
		}
	case hold.Note, hold.Upload, hold.Wake, hold.Report, hold.Announce:
	}
}

// TestEverySessionIsClosed: whatever comes in whatever order, at most one attempt is in use, late results change nothing, and at the
// end nothing is open.
func TestEverySessionIsClosed(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		h := &host{spare: addr(9)}
		r := &runner{
			t: t, random: random, m: hold.NewMachine(tunnel.Slot{}, h, policy()), now: start,
			open: map[hold.Attempt]bool{}, serving: map[hold.Attempt]bool{},
		}
		outside := []func(epoch tunnel.Epoch) hold.Event{
			func(epoch tunnel.Epoch) hold.Event { return granted(epoch, int(epoch)%4) },
			func(tunnel.Epoch) hold.Event { return hold.Timer{} },
			func(tunnel.Epoch) hold.Event { return sent(lease.EventReconnect) },
			func(epoch tunnel.Epoch) hold.Event {
				state := []lease.State{lease.StateConnecting, lease.StateConnected, lease.StateFailed}[random.IntN(3)]
				newer := lease.Record{Grant: lease.Grant{Epoch: epoch}, Live: true, Status: lease.Status{State: state}}
				return hold.Sent{Event: lease.Event{Kind: lease.EventNewer, Newer: newer}}
			},
		}
		for epoch := range tunnel.Epoch(80) {
			r.now = r.now.Add(time.Duration(random.IntN(5000)) * time.Millisecond)
			h.down, h.falls = random.IntN(4) == 0, random.IntN(8) == 0
			if n := len(r.pending); n > 0 && random.IntN(2) == 0 {
				i := random.IntN(n)
				e := r.pending[i]
				r.pending = append(r.pending[:i], r.pending[i+1:]...)
				if d, ok := e.(hold.Dialed); ok && d.Err == nil {
					r.open[d.Attempt] = true
				}
				r.step(e)
				continue
			}
			kind := min(random.IntN(len(outside)), random.IntN(len(outside))) // the last ones less often
			r.step(outside[kind](epoch + 1))
		}
		last := []hold.Event{hold.Abandoned{}, sent(lease.EventDrain), sent(lease.EventReleased)}
		r.step(last[random.IntN(len(last))])
		for len(r.pending) > 0 {
			e := r.pending[0]
			r.pending = r.pending[1:]
			if d, ok := e.(hold.Dialed); ok && d.Err == nil {
				r.open[d.Attempt] = true
			}
			r.step(e)
		}
		if !r.m.Ended() || len(r.open) > 0 || r.using != (hold.Attempt{}) {
			t.Fatalf("seed %d: ended %v, open %v, in use %v", seed, r.m.Ended(), r.open, r.using)
		}
	}
}

package sim

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
)

// heldAgain is the time after which a second dial that is held is looked at again.
const heldAgain = 250 * time.Millisecond

// dial opens a session, by two dials if the first one has no result in time. The first session counts; the error is that of the first
// dial.
func (h *holder) dial(a hold.Dial) {
	env := h.keeper.worker.env
	t := &try{dialing: true}
	h.tries[a.Attempt.Number] = t
	var timer engine.Timer
	cancel, failed, pending := [2]func(){}, [2]error{}, 1
	result := func(i int, s *Session, err error) {
		if pending--; err != nil {
			failed[i] = err
			if pending > 0 {
				return
			}
		} else if other := cancel[1-i]; other != nil {
			other()
		}
		timer.Stop()
		t.session, t.dialing = s, false
		d := hold.Dialed{Attempt: a.Attempt, Err: err}
		if err != nil {
			d.Err = failed[0]
		} else if i == 1 {
			d.Beside = a.Beside
		}
		h.post(d)
	}
	begin := func(i int, p tunnel.Protocol) {
		cancel[i] = env.Dial(h.machine.Slot(), a.Attempt.Edge, p, func(s *Session, err error) { result(i, s, err) })
	}
	t.cancel = func() {
		timer.Stop()
		for _, c := range cancel {
			if c != nil {
				c()
			}
		}
	}
	begin(0, a.Attempt.Protocol)
	var second func()
	second = func() {
		if h.keeper.holds(h.machine.Slot(), a.Demanded) {
			timer = env.After(heldAgain, "second dial", second)
			return
		}
		pending++
		begin(1, a.Beside)
	}
	if a.Beside != "" {
		timer = env.After(a.After, "second dial", second)
	}
}

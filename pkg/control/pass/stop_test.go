package pass

import (
	"testing"
	"time"
)

// TestStop: whatever the machine does, it gives up the lead that it has, and ignores the reply that is outstanding.
func TestStop(t *testing.T) {
	for n := 0; n <= len(passOf())+1; n++ {
		m, now := newMachine(), time.Unix(1000, 0)
		last := []Action{Done{}}
		for _, s := range append(passOf(), step{0, HintReply{}, ""})[:n] {
			last = stepOf(m, now, s.event)
		}
		if n < 2 { // not yet elected
			if got := describe(stepOf(m, now, Stopped{})); got != "Done" {
				t.Errorf("after %d events: %s, want Done", n, got)
			}
			if got := stepOf(m, now, leads(7)); got != nil {
				t.Errorf("a late reply led to %s", describe(got))
			}
			continue
		}
		if got, want := describe(stepOf(m, now, Stopped{})), "ResignLead supervisor s1"; got != want {
			t.Errorf("after %d events: %s, want %s", n, got, want)
		}
		for _, late := range []Event{
			LeadReply{},
			WorkersReply{},
			PoolReply{},
			ConnectorReply{},
			SlotsReply{},
			ProvedReply{},
			GrantReply{},
			ReleaseReply{},
			HintReply{},
			Ticked{},
			Hinted{},
			Rested{},
			Stopped{},
			Started{},
		} {
			if got := stepOf(m, now, late); got != nil {
				t.Errorf("after %d events (%s): %T led to %s", n, describe(last), late, describe(got))
			}
		}
		if got, want := describe(stepOf(m, now, ResignReply{})), "Hint status"; got != want {
			t.Errorf("after the lead was given up: %s, want %s", got, want)
		}
		if got := describe(stepOf(m, now, HintReply{Err: away()})); got != "Done" {
			t.Errorf("after the last hint: %s, want Done", got)
		}
	}
	r := newRun(t)
	r.steps(append(lead(), step{0, Stopped{}, "ResignLead supervisor s1"}, step{0, ResignReply{Err: away()}, "LeadNotResigned; Done"})...)
}

package lease

import (
	"testing"
	"time"
)

// TestHandoverWithoutGraceRests: with a grace period of 0, a holder that waits for a newer one that failed does not look all the time.
func TestHandoverWithoutGraceRests(t *testing.T) {
	now := time.Unix(1000, 0)
	m := machineIn(t, PhaseConnected, now)
	m.policy.Handover = 0
	if _, err := m.Step(now, Event{Kind: EventNewer, Newer: failedHere()}); err != nil {
		t.Fatal(err)
	}
	actions, err := m.Step(now, Event{Kind: EventTimer})
	if err != nil || len(actions) != 1 || actions[0] != (Wake{After: time.Second}) || m.Phase() != PhaseSuperseded {
		t.Errorf("%s, %v, in %s; want Wake 1s, superseded", describeAll(actions), err, m.Phase())
	}
}

// failedHere is a newer holder that needs the same address and failed.
func failedHere() Record {
	r := blocked()
	r.Status.State = StateFailed
	return r
}

package lease

import "time"

// Look ends the back-off of a holder that waits after a failure: the network changed, so the failure says nothing any more. The next
// attempt comes after the delay, but not before the time that the edge or the grant asked for, and never later than without the call.
func (m *Machine) Look(now time.Time, delay time.Duration) []Action {
	if m.failure.Err == nil || m.phase != PhaseWaiting && m.phase != PhaseParked {
		return nil
	}
	next := now.Add(max(delay, 0))
	for _, bound := range []time.Time{m.away, m.granted, m.calm} {
		if next.Before(bound) {
			next = bound
		}
	}
	if !next.Before(m.notBefore) {
		return nil
	}
	m.notBefore = next
	if m.phase == PhaseParked {
		return nil // it waits for another address first
	}
	return []Action{m.wake(now, max(next.Sub(now), 0))}
}

package lease

import (
	"math"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func ignore(*Machine, time.Time, Event) []Action { return nil }

// moveTo goes on with an address. The backoff is for the one that failed; another one is tried at once, a few times in a row, so that no
// chain of addresses becomes a storm (invariant I7). A wait that the edge asked for holds for all addresses.
func (m *Machine) moveTo(now time.Time, edge tunnel.EdgeAddr) {
	if m.failedHere && edge.Addr != m.edge.Addr && m.free() && addressFailed(m.failure.Err) {
		m.moves++
		m.notBefore = now
	}
	m.edge, m.failedHere = edge, false
}

// free reports whether an attempt on another address needs no wait. Of dials that are refused at once only the first one does not: then the
// address is closed, and after that probably the whole edge.
func (m *Machine) free() bool {
	return m.away.IsZero() && m.moves < freeMoves && m.refused <= 1 && m.past.Short <= shortFree
}

// addressFailed reports whether another address may do better. One that responds "duplicate" has counted a registration.
func addressFailed(err error) bool {
	switch tunnel.ReasonOf(err) {
	case tunnel.ReasonDial, tunnel.ReasonClosed, tunnel.ReasonTLS, tunnel.ReasonIdle, tunnel.ReasonPeerClosed:
		return true
	case tunnel.ReasonNone, tunnel.ReasonBlocked, tunnel.ReasonRefused, tunnel.ReasonRPC, tunnel.ReasonDuplicate, tunnel.ReasonDrained,
		tunnel.ReasonForced, tunnel.ReasonFenced, tunnel.ReasonInternal:
		return false
	default:
		return false
	}
}

// take accepts a grant while no session is open.
func take(m *Machine, now time.Time, e Event) []Action {
	m.moveTo(now, e.Grant.Edge)
	m.grant = e.Grant
	m.phase = PhaseWaiting
	m.granted = now.Add(e.Grant.Wait)
	if e.Retries > m.retries {
		m.retries = e.Retries
		m.notBefore = now.Add(m.policy.Delay(m.retries))
	}
	m.inherit(now, e.Past)
	wait := max(e.Grant.Wait, m.notBefore.Sub(now), 0)
	if wait == 0 {
		return append([]Action{ReportStatus{}}, dial(m, now, e)...)
	}
	return []Action{ReportStatus{}, m.wake(now, wait)}
}

// inherit takes over what former holders went through. The waits after it hold for this one, too.
func (m *Machine) inherit(now time.Time, p Past) {
	m.past.Deaths = p.Deaths
	if p.Short <= m.past.Short {
		return
	}
	m.past.Short = p.Short
	m.calmDown(now)
}

// calmDown waits after short sessions.
func (m *Machine) calmDown(now time.Time) {
	if n := m.past.Short - shortFree; n > 0 {
		m.calm = now.Add(m.policy.ShortDelay(n))
		m.notBefore = later(m.notBefore, m.calm)
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// retake gives up the attempt in progress for a newer grant. Nothing failed, so the only wait is the grant's.
func retake(m *Machine, now time.Time, e Event) []Action {
	return append([]Action{Close{Reason: tunnel.ReasonFenced}}, take(m, now, e)...)
}

// confirm takes a newer grant while the registration is in progress. The edge may have registered the session already, so one on the
// granted address goes on. (One on another address is left to it: a second holder takes the grant.)
func confirm(m *Machine, now time.Time, e Event) []Action {
	if e.Grant.Edge != m.edge {
		return retake(m, now, e)
	}
	m.grant, m.outdated = e.Grant, false
	return []Action{ReportStatus{}}
}

// outdate remembers a newer holder until the result of the registration is known: the edge may have registered the session already, and it
// may be the only one of its index.
func outdate(m *Machine, _ time.Time, e Event) []Action {
	m.newer, m.outdated = e.Newer, true
	return nil
}

// unlessOutdated ends a holder whose registration failed, if a newer one was seen meanwhile.
func unlessOutdated(s step) step {
	return func(m *Machine, now time.Time, e Event) []Action {
		if m.outdated {
			return end(m, now, Event{Kind: EventNewer})
		}
		return s(m, now, e)
	}
}

// adopt keeps the session under the newer epoch: a session on the granted address needs no second dial.
func adopt(m *Machine, now time.Time, e Event) []Action {
	m.grant = e.Grant
	if m.phase == PhaseConnected {
		return []Action{ReportStatus{}}
	}
	m.phase = PhaseConnected
	m.deadline = time.Time{}
	return append([]Action{ReportStatus{}}, m.proveLater(now)...)
}

// ignoreGrant remembers the epoch and address of a newer grant, and keeps the slow pace: the edge refused the
// credentials, and no address changes that.
func ignoreGrant(m *Machine, _ time.Time, e Event) []Action {
	m.grant, m.edge = e.Grant, e.Grant.Edge
	return []Action{ReportStatus{}}
}

func dial(m *Machine, _ time.Time, _ Event) []Action {
	m.phase = PhaseDialing
	m.failedHere = false
	m.deadline, m.notBefore = time.Time{}, time.Time{}
	return []Action{Dial{Edge: m.edge, Protocol: m.grant.Protocol}}
}

func register(m *Machine, _ time.Time, _ Event) []Action {
	m.phase = PhaseRegistering
	attempts := uint8(min(m.retries, math.MaxUint8))
	return []Action{Register{Epoch: m.grant.Epoch, PreviousAttempts: attempts}}
}

func serve(m *Machine, now time.Time, e Event) []Action {
	m.phase = PhaseConnected
	m.since = now
	m.retries, m.broken, m.refused, m.failure, m.announced = 0, 0, 0, Event{}, false
	m.away, m.calm = time.Time{}, time.Time{}
	m.location = e.Location
	actions := append([]Action{StartServing{}, ReportStatus{}}, m.proveLater(now)...)
	if m.outdated {
		m.outdated = false
		actions = append(actions, supersede(m, now, Event{Kind: EventNewer, Newer: m.newer})...)
	}
	return actions
}

// proveLater asks for a Timer at which the session is steady, if there is something to forget then.
func (m *Machine) proveLater(now time.Time) []Action {
	if m.past == (Past{}) {
		return nil
	}
	return []Action{m.wake(now, max(m.since.Add(SteadyTime).Sub(now), 0))}
}

// prove forgets what happened before the session: it is steady.
func prove(m *Machine, _ time.Time, _ Event) []Action {
	m.past = Past{}
	return []Action{ReportStatus{}}
}

// park waits for a new address: from a new grant, or after a bounded time, or at once when no grant can come, by
// itself. The backoff runs meanwhile.
func park(m *Machine, now time.Time, e Event) []Action {
	reason := m.fail(now, e, m.policy.Delay)
	m.phase = PhaseParked
	wait := m.policy.NewGrant
	// A closed port costs the edges no registration: the one that the grant allows is made elsewhere.
	if e.StoreDown || m.refused > 0 && m.refused <= refusedFree {
		wait = 0
	}
	return []Action{Close{Reason: reason}, ReportStatus{}, m.wake(now, wait)}
}

func rotate(m *Machine, _ time.Time, _ Event) []Action {
	return []Action{Rotate{Avoid: m.edge}}
}

// rotated goes on with the address found, or with the old one when there is no other.
func rotated(m *Machine, now time.Time, e Event) []Action {
	if !e.Edge.IsZero() {
		m.moveTo(now, e.Edge)
	}
	m.failedHere = false
	m.phase = PhaseWaiting
	return []Action{ReportStatus{}, m.wake(now, max(m.notBefore.Sub(now), 0))}
}

// retry dials the same address again after the backoff, and not before the time that the edge requested.
func retry(m *Machine, now time.Time, e Event) []Action {
	reason := m.fail(now, e, m.policy.Delay)
	m.phase = PhaseWaiting
	return []Action{Close{Reason: reason}, ReportStatus{}, m.wake(now, m.notBefore.Sub(now))}
}

// postpone waits as long as the edge asks. One that asks for too long is not the only one: another address is tried then.
func postpone(m *Machine, now time.Time, e Event) []Action {
	if e.RetryAfter <= MaxRetryAfter {
		return retry(m, now, e)
	}
	reason := m.fail(now, e, m.policy.Delay)
	m.phase = PhaseParked
	return []Action{Close{Reason: reason}, ReportStatus{}, m.wake(now, m.notBefore.Sub(now))}
}

// reconnect breaks the session and dials the same address after the delay that the operator asked for. Nothing failed, so there is
// no backoff and nothing is counted (docs/spec/lifecycle.md 3.5).
func reconnect(m *Machine, now time.Time, e Event) []Action {
	m.phase = PhaseWaiting
	m.notBefore = now.Add(max(e.Delay, 0))
	return []Action{Close{Reason: tunnel.ReasonForced}, ReportStatus{}, m.wake(now, max(e.Delay, 0))}
}

// broke retries the same address, or leaves it after too many registrations broke on it.
func broke(m *Machine, now time.Time, e Event) []Action {
	m.broken++
	if m.broken >= brokenBeforeRotate {
		m.broken = 0
		return park(m, now, e)
	}
	return retry(m, now, e)
}

func refuse(m *Machine, now time.Time, e Event) []Action {
	reason := m.fail(now, e, m.policy.SlowDelay)
	m.phase = PhaseRefused
	actions := []Action{Close{Reason: reason}, ReportStatus{}, m.wake(now, m.notBefore.Sub(now))}
	if !m.announced {
		m.announced = true
		actions = append(actions, Announce{Err: e.Err})
	}
	return actions
}

// supersede keeps serving until the newer holder is connected (make before break). Only where both need the same edge address, of which
// the edge may refuse a second session, the wait has an end.
func supersede(m *Machine, now time.Time, e Event) []Action {
	if m.phase != PhaseSuperseded {
		m.deadline = time.Time{} // of a session that is not steady yet
	}
	m.newer = e.Newer
	m.phase = PhaseSuperseded
	switch {
	case e.Newer.Live && e.Newer.Status.State == StateConnected:
		return drain(m, now, e)
	case e.Newer.InUse().Addr != m.edge.Addr:
		m.deadline = time.Time{}
		return nil
	case m.deadline.IsZero():
		return []Action{m.wake(now, m.policy.Handover)}
	default:
		return nil
	}
}

// handoverAgain is the shortest time between two looks at a newer holder that failed: without a grace period there is no other wait.
const handoverAgain = time.Second

// handover ends the wait for a newer holder that is on its way to this holder's address. One that has failed, or is gone, is waited for
// again: two sessions cost a duplicate, none costs an outage. One that failed because this session stands is not.
func handover(m *Machine, now time.Time, e Event) []Action {
	s := m.newer.Status
	blocked := s.State == StateFailed && s.Reason == tunnel.ReasonDuplicate
	if !m.newer.Live || !blocked && (s.State == StateFailed || s.State == StateRefused || s.State == StateFree) {
		return []Action{m.wake(now, max(m.policy.Handover, handoverAgain))}
	}
	return drain(m, now, e)
}

func drain(m *Machine, _ time.Time, _ Event) []Action {
	m.phase = PhaseDraining
	m.deadline = time.Time{}
	return []Action{ReportStatus{}, Unregister{}, CloseAfterDrain{Within: m.policy.Grace}}
}

func end(m *Machine, _ time.Time, e Event) []Action {
	reason := tunnel.ReasonDrained
	if e.Kind == EventNewer {
		reason = tunnel.ReasonFenced
	}
	m.phase = PhaseEnded
	m.deadline = time.Time{}
	return []Action{Close{Reason: reason}, ReportStatus{}}
}

// shut closes a session that opened after it was no longer needed.
func shut(*Machine, time.Time, Event) []Action { return []Action{Close{Reason: tunnel.ReasonDrained}} }

// fail records a failure and sets the earliest time of the next attempt.
func (m *Machine) fail(now time.Time, e Event, delay func(retries int) time.Duration) tunnel.Reason {
	reason := tunnel.ReasonOf(e.Err)
	m.ended(now)
	m.failure, m.failedHere = e, true
	m.failure.RetryAfter = min(max(e.RetryAfter, 0), MaxRetryAfter)
	m.notBefore = now.Add(max(m.delay(e, reason, delay), m.failure.RetryAfter))
	m.away = time.Time{}
	if m.failure.RetryAfter > 0 {
		m.away = now.Add(m.failure.RetryAfter)
	}
	if m.phase == PhaseConnected {
		m.calmDown(now)
	}
	return reason
}

// ended judges the session that ends, if there was one.
func (m *Machine) ended(now time.Time) {
	if m.phase != PhaseConnected {
		return
	}
	lasted := now.Sub(m.since)
	if lasted >= lastingTime {
		m.moves = 0
	}
	if lasted >= SteadyTime {
		m.past = Past{}
		return
	}
	m.past.Short++
}

// delay counts a failure and returns the wait after it.
func (m *Machine) delay(e Event, reason tunnel.Reason, delay func(retries int) time.Duration) time.Duration {
	if e.Kind == EventDialFailed && reason == tunnel.ReasonClosed && !e.SkipBackoff {
		if m.refused++; m.refused <= refusedFree {
			return m.policy.RefusedDelay(m.refused)
		}
	} else {
		m.refused = 0
	}
	m.retries++
	if e.SkipBackoff {
		return delay(1)
	}
	return delay(m.retries)
}

func (m *Machine) wake(now time.Time, after time.Duration) Action {
	m.deadline = now.Add(after)
	return Wake{After: after}
}

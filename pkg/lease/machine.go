package lease

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Phase is the step of a holder between its first grant and its end.
type Phase uint8

// Every phase.
const (
	PhaseIdle        Phase = iota // no grant yet
	PhaseWaiting                  // waits for its time to dial
	PhaseDialing                  // a dial is in progress
	PhaseRegistering              // the session is open, the registration is in progress
	PhaseConnected                // registered and serving
	PhaseSuperseded               // still serving, but a newer epoch was seen
	PhaseParked                   // the address failed; waits for a new grant, for a limited time
	PhaseRefused                  // refused permanently; retries slowly
	PhaseDraining                 // unregistered; running flows finish
	PhaseEnded                    // nothing is left to do
	phases
)

//nolint:gochecknoglobals // a table that nothing changes
var phaseNames = [phases]string{
	"idle", "waiting", "dialing", "registering", "connected", "superseded", "parked", "refused", "draining", "ended",
}

// String is the name used in messages and transcripts.
func (p Phase) String() string {
	if p < phases {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}

// ErrUnexpected says that an event cannot happen in the machine's phase: the runner has a defect.
var ErrUnexpected = errors.New("unexpected event")

// brokenBeforeRotate is how many registrations in a row may break on one address before another one is tried.
const brokenBeforeRotate = 3

// An attempt on another address than the one that failed starts without a wait: a slot that was connected for lastingTime has freeMoves of
// them until it is connected again, and so has a new holder.
const (
	lastingTime = 10 * time.Second
	freeMoves   = 3
)

// shortFree is how many sessions in a row may end before SteadyTime without more than the ordinary wait. An edge that accepts sessions and
// ends them gets no storm of them, and one that is restarted address by address is no such edge.
const shortFree = 2

// refusedFree is how many dials in a row may be refused at once until they count as failures. An edge that is started again refuses for
// some seconds, and a closed port costs nobody anything.
const refusedFree = 10

// Policy holds the times that a Machine decides with. All fields are needed.
type Policy struct {
	// Delay is the wait after the given number of failures in a row (1 after the first), with full jitter (docs/spec/lifecycle.md 3.4).
	Delay func(retries int) time.Duration
	// SlowDelay is the same after the edge refused for good.
	SlowDelay func(retries int) time.Duration
	// ShortDelay is the same after so many short sessions in a row beyond those that are free (1 after the first).
	ShortDelay func(n int) time.Duration
	// RefusedDelay is the same after so many dials in a row that were refused at once.
	RefusedDelay func(n int) time.Duration
	// NewGrant is how long a holder whose address failed waits for a new grant before it rotates by itself.
	NewGrant time.Duration
	// Handover is how long a holder that saw a newer epoch keeps serving while that one is not connected, if both need the same edge
	// address. A newer holder with another address is waited for without a limit.
	Handover time.Duration
	// Grace bounds the time for running flows after the registration was taken back.
	Grace time.Duration
}

// Machine is the state of one holder of one slot. It is not safe for concurrent use.
type Machine struct {
	policy Policy
	phase  Phase
	grant  Grant
	edge   tunnel.EdgeAddr

	retries int
	broken  int
	// past is what happened since a session was steady; refused counts the dials in a row that were refused at once.
	past      Past
	refused   int
	failure   Event
	location  string
	announced bool
	// moves counts the attempts that started without a wait; since is when the present connection was registered.
	moves int
	since time.Time
	// failedHere says that the attempt with the present grant and address failed, and that no new one began.
	failedHere bool
	// notBefore is when the next attempt may start, deadline when the last Wake comes; zero means none.
	notBefore time.Time
	deadline  time.Time
	// away is until when the edge asked this slot to stay away; zero if it did not.
	away time.Time
	// granted is when the last grant lets the holder start, calm when the wait after short sessions is over.
	granted, calm time.Time
	newer         Record
	// outdated says that newer was seen while the registration was in progress.
	outdated bool
}

// NewMachine makes a holder without a grant.
func NewMachine(p Policy) *Machine { return &Machine{policy: p} }

// Phase is the present phase of the holder.
func (m *Machine) Phase() Phase { return m.phase }

// Grant is the last grant that the holder took.
func (m *Machine) Grant() Grant { return m.grant }

// Edge is the address in use, or to be used next.
func (m *Machine) Edge() tunnel.EdgeAddr { return m.edge }

// Deadline is when the last Wake comes; zero when none is wanted.
func (m *Machine) Deadline() time.Time { return m.deadline }

// Away is until when the edge asked the holder to stay away, zero if it did not.
func (m *Machine) Away() time.Time { return m.away }

// Status is the status that the holder reports to the store.
func (m *Machine) Status(inFlight int) Status {
	s := Status{Retries: m.retries, InFlight: inFlight, Past: m.past}
	if m.edge != m.grant.Edge {
		s.Edge = m.edge
	}
	switch m.phase {
	case PhaseIdle, PhaseEnded:
		s.State = StateFree
	case PhaseWaiting, PhaseParked:
		s.State = StateConnecting
		if m.failedHere {
			s.State = StateFailed
		}
	case PhaseDialing, PhaseRegistering:
		s.State = StateConnecting
	case PhaseConnected, PhaseSuperseded:
		s.State, s.Location = StateConnected, m.location
	case PhaseRefused:
		s.State = StateRefused
	case PhaseDraining:
		s.State, s.Location = StateDraining, m.location
	case phases: // only counts them
	}
	if m.failure.Err != nil {
		s.Reason, s.Error, s.RetryAfter = tunnel.ReasonOf(m.failure.Err), m.failure.Err.Error(), m.failure.RetryAfter
	}
	return s
}

// step is one cell of the table.
type step func(m *Machine, now time.Time, e Event) []Action

// table has a step for every pair that can happen, races between the runner's tasks and the store included. A nil cell
// cannot happen.
//
//nolint:gochecknoglobals // a table that nothing changes
var table = [phases][eventKinds]step{
	PhaseIdle: {
		EventGranted: take, EventTimer: ignore, EventDrain: end, EventReleased: end, EventNewer: end,
		EventReconnect: ignore,
	},
	PhaseWaiting: {
		EventGranted: take, EventTimer: dial, EventNewer: end, EventReleased: end, EventDrain: end,
		EventRotated:   ignore,
		EventReconnect: ignore,
	},
	PhaseDialing: {
		EventGranted: retake, EventTimer: ignore, EventDialed: register, EventDialFailed: park,
		EventNewer: end, EventReleased: end, EventDrain: end, EventRotated: ignore,
		EventReconnect: ignore,
	},
	PhaseRegistering: {
		EventGranted: confirm, EventTimer: ignore, EventRegistered: serve, EventDuplicate: unlessOutdated(park),
		EventRefused: unlessOutdated(postpone), EventRejected: unlessOutdated(refuse), EventBroken: unlessOutdated(broke),
		EventNewer: outdate, EventReleased: end, EventDrain: end,
		EventRotated:   ignore,
		EventReconnect: ignore,
	},
	PhaseConnected: {
		EventGranted: adopt, EventTimer: prove, EventLost: retry, EventSilent: park, EventNewer: supersede,
		EventReleased: drain, EventDrain: drain, EventRotated: ignore,
		EventReconnect: reconnect,
	},
	PhaseSuperseded: {
		EventGranted: adopt, EventTimer: handover, EventLost: end, EventSilent: end, EventNewer: supersede,
		EventReleased: drain, EventDrain: drain, EventRotated: ignore,
		EventReconnect: ignore,
	},
	PhaseParked: {
		EventGranted: take, EventTimer: rotate, EventRotated: rotated, EventNewer: end, EventReleased: end,
		EventDrain:     end,
		EventReconnect: ignore,
	},
	PhaseRefused: {
		EventGranted: ignoreGrant, EventTimer: dial, EventNewer: end, EventReleased: end, EventDrain: end,
		EventRotated:   ignore,
		EventReconnect: ignore,
	},
	PhaseDraining: {
		EventGranted: ignore, EventTimer: ignore, EventLost: end, EventSilent: end, EventNewer: ignore,
		EventReleased: ignore, EventDrain: ignore, EventDrained: end, EventRotated: ignore,
		EventReconnect: ignore,
	},
	PhaseEnded: {
		EventGranted: ignore, EventTimer: ignore, EventDialed: shut, EventDialFailed: ignore, EventRegistered: shut,
		EventDuplicate: ignore, EventRefused: ignore, EventRejected: ignore, EventBroken: ignore, EventLost: ignore,
		EventSilent: ignore, EventRotated: ignore, EventNewer: ignore, EventReleased: ignore, EventDrain: ignore,
		EventDrained:   ignore,
		EventReconnect: ignore,
	},
}

// Step handles one event at now and returns the actions to run, in order. now must never decrease.
func (m *Machine) Step(now time.Time, e Event) ([]Action, error) {
	if m.phase >= phases || e.Kind >= eventKinds || table[m.phase][e.Kind] == nil {
		return nil, fmt.Errorf("%w: %s while %s", ErrUnexpected, e.Kind, m.phase)
	}
	if e.Kind == EventTimer {
		if m.deadline.IsZero() || now.Before(m.deadline) {
			return nil, nil // from a Wake that a later one replaced
		}
		m.deadline = time.Time{}
	}
	return table[m.phase][e.Kind](m, now, e), nil
}

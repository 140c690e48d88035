package hold

import (
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Host is what the worker knows beyond one slot. A machine calls it in Step only.
type Host interface {
	// Protocol is the transport for an attempt that begins now, and the one that may be tried beside it; demanded is the one that the
	// grant requires, or empty.
	Protocol(now time.Time, slot tunnel.Slot, demanded tunnel.Protocol) protocol.Try
	// Dialed receives the result of a dial, or later the reason why its session ended, for the health of the address; tunnel.ReasonNone
	// is a success.
	Dialed(now time.Time, edge tunnel.EdgeAddr, reason tunnel.Reason)
	// Observe receives what an attempt, or later the end of its connection, says about its protocol. It reports whether the slot falls
	// back to another one.
	Observe(now time.Time, slot tunnel.Slot, a Attempt, e protocol.Event) (fell bool)
	// Rotate chooses another address without the store; the zero address when there is none.
	Rotate(now time.Time, slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr
	Store
}

// Store is what the worker knows about the store.
type Store interface {
	// StoreDown reports whether the store is unavailable.
	StoreDown() bool
	// Fresh reports whether the worker has looked into the store lately enough to act. It has not when the process was stopped for longer
	// than a lease: then other holders may have the slot.
	Fresh(now time.Time) bool
}

// View is the state of a holder at one moment.
type View struct {
	Phase  lease.Phase
	Grant  lease.Grant
	Edge   tunnel.EdgeAddr
	Status lease.Status
	// Away is until when the edge asked the holder to stay away; zero if it did not.
	Away time.Time
}

// lookTime is how long the machine waits for a look into the store before it asks again.
const lookTime = 250 * time.Millisecond

// Machine is the state of one holder of one slot. It is not safe for concurrent use.
type Machine struct {
	slot  tunnel.Slot
	host  Host
	lease *lease.Machine

	// attempt is the one in progress or in use, zero between attempts. last counts attempts; protocol is that of the last one.
	attempt   Attempt
	last      uint64
	protocol  tunnel.Protocol
	abandoned bool
	// uploads says that the local configuration is uploaded when the attempt begins to serve.
	uploads bool
	// dialing is the successful dial whose registration waits for a look into the store; uploading says that the upload of the attempt does.
	dialing   *Dialed
	uploading bool
}

// NewMachine makes a holder without a grant.
func NewMachine(slot tunnel.Slot, host Host, policy lease.Policy) *Machine {
	return &Machine{slot: slot, host: host, lease: lease.NewMachine(policy)}
}

// Slot is the slot that the machine holds.
func (m *Machine) Slot() tunnel.Slot { return m.slot }

// Attempt is the attempt in progress or in use, zero between attempts.
func (m *Machine) Attempt() Attempt { return m.attempt }

// Ended reports whether nothing is left to do but to close what late results bring.
func (m *Machine) Ended() bool { return m.abandoned || m.lease.Phase() == lease.PhaseEnded }

// View is the present state. Its status knows no flows in flight.
func (m *Machine) View() View {
	v := View{Phase: m.lease.Phase(), Grant: m.lease.Grant(), Edge: m.lease.Edge(), Status: m.lease.Status(0), Away: m.lease.Away()}
	v.Status.Protocol = m.protocol
	return v
}

// Step handles one event at now and returns the actions to run, in order. now must never decrease. A result belongs to the attempt that
// it names: one of an attempt that was given up changes nothing, and what it brought is closed. An error says that the event
// cannot happen in the present phase; it changed nothing.
func (m *Machine) Step(now time.Time, e Event) ([]Action, error) {
	switch e := e.(type) {
	case Abandoned:
		m.abandoned = true
		return m.close(tunnel.ReasonDrained), nil
	case Dialed:
		return m.dialed(now, e)
	case Registered:
		return m.registered(now, e)
	case Ended:
		if reason := tunnel.ReasonOf(e.Err); e.Err != nil && !m.late(e.Attempt) {
			m.host.Dialed(now, e.Attempt.Edge, reason)
		}
		m.host.Observe(now, m.slot, m.used(e.Attempt), protocol.Lost)
		return m.result(now, e.Attempt, lease.Loss(e.Err, m.host.StoreDown()))
	case Drained:
		return m.result(now, e.Attempt, lease.Event{Kind: lease.EventDrained})
	case Renamed:
		m.slot.Connector = e.Connector
		return nil, nil
	}
	if m.abandoned {
		return nil, nil
	}
	switch e := e.(type) {
	case Sent:
		return m.step(now, e.Event)
	case Timer:
		return m.timer(now)
	case Looked:
		var actions []Action
		for _, a := range m.lease.Look(now, e.Delay) {
			if w, ok := a.(lease.Wake); ok {
				actions = append(actions, Wake{After: w.After})
			}
		}
		return actions, nil
	default:
		return nil, fmt.Errorf("%w: %T", lease.ErrUnexpected, e)
	}
}

// dialed records what a dial says about its address and its protocol. A dial that was given up says nothing: its end was no
// failure of either.
func (m *Machine) dialed(now time.Time, e Dialed) ([]Action, error) {
	if m.late(e.Attempt) {
		return m.closeLate(e.Attempt), nil
	}
	reason := tunnel.ReasonOf(e.Err)
	m.host.Dialed(now, e.Attempt.Edge, reason)
	if e.Err == nil && e.Beside != "" {
		m.host.Observe(now, m.slot, e.Attempt, protocol.Overtaken)
		m.protocol = e.Beside
	}
	if e.Err == nil && !m.host.Fresh(now) {
		m.dialing = &e
		return look(), nil
	}
	if e.Err == nil {
		return m.step(now, lease.Event{Kind: lease.EventDialed})
	}
	failure := lease.DialFailure(e.Err, m.host.StoreDown())
	failure.SkipBackoff = m.host.Observe(now, m.slot, e.Attempt, protocol.EventOf(reason))
	return m.step(now, failure)
}

// registered records what a registration says about its protocol. Its session was open, so that holds for late results too.
func (m *Machine) registered(now time.Time, e Registered) ([]Action, error) {
	if e.Err != nil {
		m.host.Observe(now, m.slot, m.used(e.Attempt), protocol.Lost)
		return m.result(now, e.Attempt, lease.RegisterFailure(e.Err, m.host.StoreDown()))
	}
	m.host.Observe(now, m.slot, m.used(e.Attempt), protocol.Connected)
	if !m.late(e.Attempt) {
		m.uploads = m.slot.Index == 0 && !e.RemotelyManaged
	}
	actions, err := m.result(now, e.Attempt, lease.Event{Kind: lease.EventRegistered, Location: e.Location})
	if m.uploads && !m.late(e.Attempt) && !m.host.Fresh(now) {
		m.uploading = true
		actions = slices.DeleteFunc(actions, func(a Action) bool { _, is := a.(Upload); return is })
		actions = append(actions, look()...)
	}
	return actions, err
}

// timer does what is due. After a long stop of the process it looks first and acts later.
func (m *Machine) timer(now time.Time) ([]Action, error) {
	if !m.host.Fresh(now) && !m.Ended() {
		return look(), nil
	}
	var before []Action
	switch {
	case m.dialing != nil:
		m.dialing = nil
		return m.step(now, lease.Event{Kind: lease.EventDialed})
	case m.uploading:
		m.uploading = false
		before = []Action{Upload{Attempt: m.attempt}}
	}
	actions, err := m.step(now, lease.Event{Kind: lease.EventTimer})
	if after := m.lease.Deadline().Sub(now); after > 0 && len(before) > 0 {
		actions = append(actions, Wake{After: after}) // look replaced it
	}
	return append(before, actions...), err
}

// look asks for a look into the store, and for another Timer after it.
func look() []Action { return []Action{Report{}, Wake{After: lookTime}} }

// result hands the result of an attempt to the lease machine, unless the attempt was given up.
func (m *Machine) result(now time.Time, a Attempt, e lease.Event) ([]Action, error) {
	if m.late(a) {
		return m.closeLate(a), nil
	}
	return m.step(now, e)
}

// used is the attempt with the protocol that its session uses: of the present one it may be that of the second dial.
func (m *Machine) used(a Attempt) Attempt {
	if !m.late(a) {
		a.Protocol = m.protocol
	}
	return a
}

func (m *Machine) late(a Attempt) bool { return a != m.attempt || a == Attempt{} }

func (m *Machine) closeLate(a Attempt) []Action {
	return []Action{Close{Attempt: a, Reason: tunnel.ReasonDrained}}
}

// step gives an event to the lease machine and completes its actions by the attempt that they are for.
func (m *Machine) step(now time.Time, e lease.Event) ([]Action, error) {
	note := Note{Event: e, Before: m.lease.Phase(), Attempt: m.attempt, Protocol: m.protocol}
	todo, err := m.lease.Step(now, e)
	if err != nil {
		return nil, fmt.Errorf("slot %d: %w", m.slot.Index, err)
	}
	note.View = m.View()
	actions := []Action{note}
	for _, a := range todo {
		more, err := m.translate(now, a)
		if err != nil {
			return actions, err
		}
		actions = append(actions, more...)
	}
	return actions, nil
}

func (m *Machine) translate(now time.Time, a lease.Action) ([]Action, error) {
	switch a := a.(type) {
	case lease.Dial:
		return m.dial(now, a), nil
	case lease.Register:
		return []Action{Register{Attempt: m.attempt, Register: a}}, nil
	case lease.StartServing:
		return m.serve(), nil
	case lease.Wake:
		return []Action{Wake{After: a.After}}, nil
	case lease.Rotate:
		return m.step(now, lease.Event{Kind: lease.EventRotated, Edge: m.host.Rotate(now, m.slot, a.Avoid)})
	case lease.Unregister:
		return []Action{Unregister{Attempt: m.attempt}}, nil
	case lease.CloseAfterDrain:
		return []Action{Drain{Attempt: m.attempt, Within: a.Within}}, nil
	case lease.Close:
		return m.close(a.Reason), nil
	case lease.ReportStatus:
		return []Action{Report{}}, nil
	case lease.Announce:
		return []Action{Announce{Err: a.Err}}, nil
	default:
		return nil, fmt.Errorf("slot %d: unknown action %T", m.slot.Index, a)
	}
}

func (m *Machine) dial(now time.Time, d lease.Dial) []Action {
	m.last++
	try := m.host.Protocol(now, m.slot, d.Protocol)
	m.protocol = try.Protocol
	m.uploads = false
	m.attempt = Attempt{Number: m.last, Edge: d.Edge, Protocol: m.protocol}
	return []Action{Dial{Attempt: m.attempt, Beside: try.Beside, After: try.After, Demanded: d.Protocol}}
}

func (m *Machine) serve() []Action {
	actions := []Action{Serve{Attempt: m.attempt}}
	if m.uploads {
		actions = append(actions, Upload{Attempt: m.attempt})
	}
	return actions
}

// close gives the attempt up. Its results are late from now on.
func (m *Machine) close(reason tunnel.Reason) []Action {
	if m.attempt == (Attempt{}) {
		return nil
	}
	a := m.attempt
	m.attempt, m.dialing, m.uploading = Attempt{}, nil, false
	return []Action{Close{Attempt: a, Reason: reason}}
}

package protocol

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Bounds of the fallback (docs/spec/lifecycle.md 4.5, its D line; the reference needs nine failures of one slot, never falls
// back once any slot was connected, and never returns if the fallback fails too).
const (
	// FallbackFailures dial failures on FallbackAddrs different addresses end the preferred protocol's turn.
	FallbackFailures = 3
	FallbackAddrs    = 2
	// FallbackAlways dial failures end it whatever the addresses were: there may be one only.
	FallbackAlways = 5
	// ProbeFirst is the time until the preferred protocol is tried again; it doubles with each failed probe, to ProbeMax.
	ProbeFirst = 5 * time.Minute
	ProbeMax   = time.Hour
)

// State is where a slot stands between its two protocols.
type State uint8

// The states.
const (
	Preferring State = iota // the preferred protocol is in use
	Fallen                  // the fallback is in use
	Probing                 // the next attempt tries the preferred protocol again
)

// String names the state.
func (s State) String() string {
	switch s {
	case Preferring:
		return "preferring"
	case Fallen:
		return "fallen"
	case Probing:
		return "probing"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// Event is what happened to the slot's connection.
type Event uint8

// The events.
const (
	Connected  Event = iota // registered with the edge
	DialFailed              // the address did not answer, or the handshake failed
	Blocked                 // the local system forbids the transport
	Lost                    // anything after a handshake: it says nothing against the protocol
	ProbeDue                // the time of ProbeAt has come
)

// String names the event.
func (e Event) String() string {
	switch e {
	case Connected:
		return "connected"
	case DialFailed:
		return "dial_failed"
	case Blocked:
		return "blocked"
	case Lost:
		return "lost"
	case ProbeDue:
		return "probe_due"
	default:
		return fmt.Sprintf("event(%d)", uint8(e))
	}
}

// EventOf is the event that a reason means; tunnel.ReasonNone is a connection.
func EventOf(r tunnel.Reason) Event {
	switch r {
	case tunnel.ReasonNone:
		return Connected
	case tunnel.ReasonDial, tunnel.ReasonTLS:
		return DialFailed
	case tunnel.ReasonBlocked:
		return Blocked
	case tunnel.ReasonDuplicate, tunnel.ReasonRefused, tunnel.ReasonRPC, tunnel.ReasonIdle, tunnel.ReasonPeerClosed,
		tunnel.ReasonDrained, tunnel.ReasonForced, tunnel.ReasonFenced, tunnel.ReasonInternal:
		return Lost
	default:
		return Lost
	}
}

// step is what a transition does besides its obvious: the next state may depend on a count.
type step uint8

const (
	stay   step = iota // nothing changes
	forget             // the failures are forgotten, and the time between probes too
	count              // one failure more; enough of them: fall back
	fall               // fall back at once
	again              // the probe failed: back to the fallback, for longer
	prove              // the fallback works
	doubt              // the fallback fails as well; enough of that: try the preferred protocol
	probe              // try the preferred protocol
	back               // the preferred protocol works: it is in use again
)

type situation struct {
	state State
	event Event
}

// transitions has every pair; one that is missing is an error.
//
//nolint:gochecknoglobals // a table that nothing changes
var transitions = map[situation]step{
	{Preferring, Connected}:  forget,
	{Preferring, DialFailed}: count,
	{Preferring, Blocked}:    fall,
	{Preferring, Lost}:       stay,
	{Preferring, ProbeDue}:   stay,

	{Fallen, Connected}:  prove,
	{Fallen, DialFailed}: doubt,
	{Fallen, Blocked}:    doubt,
	{Fallen, Lost}:       stay,
	{Fallen, ProbeDue}:   probe,

	{Probing, Connected}:  back,
	{Probing, DialFailed}: again,
	{Probing, Blocked}:    again,
	{Probing, Lost}:       back,
	{Probing, ProbeDue}:   stay,
}

// Machine is one slot's way between its preferred protocol and its fallback. It is a value: Step returns another one.
type Machine struct {
	Selection Selection
	State     State
	// Since is when the state began.
	Since time.Time
	// ProbeAt is when the preferred protocol is to be tried again beside the connection, in state Fallen. Jitter, so that
	// not all probe at once, is the caller's: it may add to it.
	ProbeAt time.Time
	// ProbeAfter is the time from the last fall to ProbeAt.
	ProbeAfter time.Duration
	// Proven says that the fallback works. While it does not, the network may be to blame, and not the preferred protocol:
	// then a failed probe is no reason to wait longer for the next one.
	Proven bool
	// Failures counts dial failures of the protocol in use in a row, Tried the addresses they were on.
	Failures int
	Tried    []netip.AddrPort
}

// NewMachine starts with the preferred protocol.
func NewMachine(s Selection, now time.Time) Machine { return Machine{Selection: s, Since: now} }

// Current is the protocol of the next attempt.
func (m Machine) Current() tunnel.Protocol {
	if m.State == Fallen {
		return m.Selection.Fallback
	}
	return m.Selection.Preferred
}

// Step is the machine after the event at now; addr is the address that a failed dial was for. A pair of state and event
// that the table does not have is an error, and changes nothing.
func (m Machine) Step(now time.Time, e Event, addr netip.AddrPort) (Machine, error) {
	do, found := transitions[situation{m.State, e}]
	if !found {
		return m, fmt.Errorf("protocol machine: no transition for %v in state %v", e, m.State)
	}
	switch do {
	case stay:
	case forget:
		m.Failures, m.Tried, m.ProbeAfter = 0, nil, 0
	case count:
		m = m.counted(now, addr)
	case fall:
		m = m.fallen(now, ProbeFirst)
	case again:
		m = m.fallenAgain(now)
	case prove:
		m.Failures, m.Proven = 0, true
	case doubt:
		m.Failures++
		if m.Failures >= FallbackFailures {
			m.State, m.Since, m.Failures, m.Proven = Probing, now, 0, false
		}
	case probe:
		m.State, m.Since = Probing, now
	case back:
		m = NewMachine(m.Selection, now)
	}
	return m, nil
}

// counted has one failure more, and is on the fallback after enough of them.
func (m Machine) counted(now time.Time, addr netip.AddrPort) Machine {
	m.Failures++
	if addr.IsValid() && !slices.Contains(m.Tried, addr) && len(m.Tried) < FallbackAddrs {
		m.Tried = append(slices.Clone(m.Tried), addr)
	}
	if m.Failures >= FallbackAlways || m.Failures >= FallbackFailures && len(m.Tried) >= FallbackAddrs {
		return m.fallen(now, ProbeFirst)
	}
	return m
}

// fallenAgain is on the fallback after a probe that failed.
func (m Machine) fallenAgain(now time.Time) Machine {
	after, proven := m.ProbeAfter, m.Proven
	if proven {
		after *= 2
	}
	m = m.fallen(now, min(after, ProbeMax))
	m.Proven = proven
	return m
}

// fallen goes to the fallback; without one the preferred protocol goes on.
func (m Machine) fallen(now time.Time, probeAfter time.Duration) Machine {
	if m.Selection.Fallback == "" || m.Selection.Fallback == m.Selection.Preferred {
		return m
	}
	return Machine{
		Selection: m.Selection, State: Fallen, Since: now,
		ProbeAt: now.Add(probeAfter), ProbeAfter: probeAfter,
	}
}

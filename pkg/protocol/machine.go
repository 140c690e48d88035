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
	// FallbackFailures dial failures on FallbackAddrs different addresses cause a fallback.
	FallbackFailures = 3
	FallbackAddrs    = 2
	// FallbackAlways dial failures cause it on any number of addresses, since there may be only one.
	FallbackAlways = 5
	// RefusedEvery is the least time between two refused dials that count. A dial without a response takes as long; a refused one takes
	// no time at all, and an edge that is started again refuses for a few seconds.
	RefusedEvery = 5 * time.Second
	// ProbeFirst is the time until the preferred protocol is tried again; it doubles with each failed probe, to ProbeMax.
	ProbeFirst = 5 * time.Minute
	ProbeMax   = time.Hour
)

// State is the state of a slot between its two protocols.
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

// Event is a change of the slot's connection.
type Event uint8

// The events.
const (
	Connected  Event = iota // registered with the edge
	DialFailed              // the address did not respond, or the handshake failed
	Blocked                 // the local system forbids the transport
	Lost                    // a loss after the handshake, which is no fault of the protocol
	ProbeDue                // the time of ProbeAt has come
	Refused                 // nothing listens at the address, or a firewall refuses the transport: both look alike
	Overtaken               // the dial had no response while one over the fallback, to the same address, was connected
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
	case Refused:
		return "refused"
	case Overtaken:
		return "overtaken"
	default:
		return fmt.Sprintf("event(%d)", uint8(e))
	}
}

// EventOf returns the event of a reason; tunnel.ReasonNone is Connected.
func EventOf(r tunnel.Reason) Event {
	switch r {
	case tunnel.ReasonNone:
		return Connected
	case tunnel.ReasonDial, tunnel.ReasonTLS:
		return DialFailed
	case tunnel.ReasonClosed:
		return Refused
	case tunnel.ReasonBlocked:
		return Blocked
	case tunnel.ReasonDuplicate, tunnel.ReasonRefused, tunnel.ReasonRPC, tunnel.ReasonIdle, tunnel.ReasonPeerClosed,
		tunnel.ReasonDrained, tunnel.ReasonForced, tunnel.ReasonFenced, tunnel.ReasonInternal:
		return Lost
	default:
		return Lost
	}
}

// step is the action of a transition; the next state may depend on a count.
type step uint8

const (
	stay   step = iota // nothing changes
	forget             // reset the failures and the time between probes
	count              // count a failure; fall back at the limit
	space              // the same, unless the last failure was less than RefusedEvery ago
	fall               // fall back at once
	again              // the probe failed: use the fallback for longer
	prove              // the fallback works
	doubt              // count a failure of the fallback; at the limit try the preferred protocol
	probe              // try the preferred protocol
	back               // the preferred protocol works: it is in use again
)

type situation struct {
	state State
	event Event
}

// transitions lists every valid pair of state and event.
//
//nolint:gochecknoglobals // a table that nothing changes
var transitions = map[situation]step{
	{Preferring, Connected}:  forget,
	{Preferring, DialFailed}: count,
	{Preferring, Blocked}:    fall,
	{Preferring, Lost}:       stay,
	{Preferring, ProbeDue}:   stay,
	{Preferring, Refused}:    space,
	{Preferring, Overtaken}:  fall,

	{Fallen, Connected}:  prove,
	{Fallen, DialFailed}: doubt,
	{Fallen, Blocked}:    doubt,
	{Fallen, Lost}:       stay,
	{Fallen, ProbeDue}:   probe,
	{Fallen, Refused}:    doubt,
	{Fallen, Overtaken}:  stay,

	{Probing, Connected}:  back,
	{Probing, DialFailed}: again,
	{Probing, Blocked}:    again,
	{Probing, Lost}:       back,
	{Probing, ProbeDue}:   stay,
	{Probing, Refused}:    again,
	{Probing, Overtaken}:  again,
}

// Machine decides between the preferred protocol of a slot and its fallback. It is a value: Step returns a changed copy.
type Machine struct {
	Selection Selection
	State     State
	// Since is the time at which the state began.
	Since time.Time
	// ProbeAt is the time of the next probe of the preferred protocol beside the connection, in state Fallen. The caller may add
	// jitter, so that not all hosts probe at once.
	ProbeAt time.Time
	// ProbeAfter is the time from the last fall to ProbeAt.
	ProbeAfter time.Duration
	// Proven means that the fallback works. While it fails too, the network may be the cause rather than the preferred protocol,
	// and a failed probe does not lengthen the time to the next one.
	Proven bool
	// Failures counts dial failures of the protocol in use in a row, Tried the addresses they were on.
	Failures int
	Tried    []netip.AddrPort
	// Counted is the time of the last failure that counted, in state Preferring.
	Counted time.Time
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

// Step returns the machine after the event at now; addr is the address of a failed dial. A pair of state and event that is not in
// the table is an error and changes nothing.
func (m Machine) Step(now time.Time, e Event, addr netip.AddrPort) (Machine, error) {
	do, found := transitions[situation{m.State, e}]
	if !found {
		return m, fmt.Errorf("protocol machine: no transition for %v in state %v", e, m.State)
	}
	switch do {
	case stay:
	case forget:
		m.Failures, m.Tried, m.ProbeAfter, m.Counted = 0, nil, 0, time.Time{}
	case count:
		m = m.counted(now, addr)
	case space:
		m = m.refused(now, addr)
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

// counted adds a failure, and falls back at the limit.
func (m Machine) counted(now time.Time, addr netip.AddrPort) Machine {
	m.Failures++
	m.Counted = now
	if addr.IsValid() && !slices.Contains(m.Tried, addr) && len(m.Tried) < FallbackAddrs {
		m.Tried = append(slices.Clone(m.Tried), addr)
	}
	if m.Failures >= FallbackAlways || m.Failures >= FallbackFailures && len(m.Tried) >= FallbackAddrs {
		return m.fallen(now, ProbeFirst)
	}
	return m
}

// refused is counted, unless the last failure was less than RefusedEvery ago.
func (m Machine) refused(now time.Time, addr netip.AddrPort) Machine {
	if !m.Counted.IsZero() && now.Sub(m.Counted) < RefusedEvery {
		return m
	}
	return m.counted(now, addr)
}

// fallenAgain returns to the fallback after a failed probe.
func (m Machine) fallenAgain(now time.Time) Machine {
	after, proven := m.ProbeAfter, m.Proven
	if proven {
		after *= 2
	}
	m = m.fallen(now, min(after, ProbeMax))
	m.Proven = proven
	return m
}

// fallen changes to the fallback; without one the preferred protocol stays.
func (m Machine) fallen(now time.Time, probeAfter time.Duration) Machine {
	if m.Selection.Fallback == "" || m.Selection.Fallback == m.Selection.Preferred {
		return m
	}
	return Machine{
		Selection: m.Selection, State: Fallen, Since: now,
		ProbeAt: now.Add(probeAfter), ProbeAfter: probeAfter,
	}
}

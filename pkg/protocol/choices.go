package protocol

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Random returns a uniform number in [0, n); rand.Int64N of math/rand/v2 is one. n is positive.
type Random func(n int64) int64

// probeJitter is the part of the time until a probe by which it may come later, so that hosts that fell back together do
// not all probe together.
const probeJitter = 4

// Turn is the effect of an event on a slot.
type Turn uint8

// The turns.
const (
	Unchanged   Turn = iota
	FellBack         // the slot uses the fallback from now on
	Returned         // the slot uses the preferred protocol again
	ProbeFailed      // the preferred protocol still does not work
)

// String names the turn.
func (t Turn) String() string {
	switch t {
	case Unchanged:
		return "unchanged"
	case FellBack:
		return "fallback"
	case Returned:
		return "return"
	case ProbeFailed:
		return "probe_failed"
	default:
		return fmt.Sprintf("turn(%d)", uint8(t))
	}
}

// Change is a turn with the details for logs and metrics.
type Change struct {
	Turn Turn
	// First means that all other slots of this host use their preferred protocol.
	First bool
	From  tunnel.Protocol
	To    tunnel.Protocol
	// Failures are the dial failures that led to a fall.
	Failures int
	// ProbeAt is when the preferred protocol is tried again, after a fall or a failed probe.
	ProbeAt time.Time
}

// Choices holds the machines of all slots of one host. Each slot decides by its own failures, except for four things that the
// whole host shares: a new slot starts in the state of the slot that registered last, the failures of all slots count together
// while none is connected over the preferred protocol, at most one probe runs at a time, and its result applies to all slots. A
// probe runs beside a connection, so that every regular attempt uses the protocol that worked last.
//
// It is not safe for concurrent use.
type Choices struct {
	random Random
	// first is the time from a fall to the first probe; it doubles from there, to ProbeMax.
	first time.Duration
	slots map[tunnel.Slot]Machine
	// stand is a copy of the machine of the slot that registered last.
	stand map[Selection]Machine
	// dark counts the dial failures of all slots together, since one was connected over the preferred protocol; up are those that are.
	dark map[Selection]Machine
	up   map[tunnel.Slot]bool
	// probing means that a probe beside a connection is running.
	probing bool
}

// NewChoices makes the choices of a host before its first connection. probeFirst is the time from a fallback to the first
// probe.
func NewChoices(random Random, probeFirst time.Duration) *Choices {
	return &Choices{
		random: random, first: probeFirst, slots: map[tunnel.Slot]Machine{}, stand: map[Selection]Machine{},
		dark: map[Selection]Machine{}, up: map[tunnel.Slot]bool{},
	}
}

// A dial over the preferred protocol that has no response for besideAfter gets company: a dial over the fallback, as soon as no slot of the
// host is connected over the preferred one. Where that does not work, as is known by then, it comes after besideSoon.
const (
	besideAfter = time.Second
	besideSoon  = 250 * time.Millisecond
)

// Try is how an attempt is made.
type Try struct {
	Protocol tunnel.Protocol
	// Beside is the protocol of a second dial to the same address, if the first one has no response After its start; empty for none. Its
	// success is the event Overtaken.
	Beside tunnel.Protocol
	After  time.Duration
	// Held says that another slot of the host is connected over Protocol. Then the fault is probably the address's, and the second dial waits:
	// whoever dials asks for the next attempt once more, until it is not held.
	Held bool
}

// Next is how a slot's next attempt is made, which begins at now. While an attempt runs it says the same, but for what has changed.
func (c *Choices) Next(now time.Time, slot tunnel.Slot, s Selection) Try {
	m := c.machine(now, slot, s)
	c.slots[slot] = m
	t := Try{Protocol: m.Current()}
	if t.Protocol != s.Preferred || s.Fallback == "" || s.Fallback == s.Preferred {
		return t
	}
	t.Beside, t.After, t.Held = s.Fallback, besideAfter, c.works(s)
	if c.dark[s].State == Fallen {
		t.After = besideSoon
	}
	return t
}

// Prefers is the protocol that a slot would use now, without an attempt.
func (c *Choices) Prefers(now time.Time, slot tunnel.Slot, s Selection) tunnel.Protocol {
	return c.machine(now, slot, s).Current()
}

// machine returns the machine of the slot, or for a new slot a copy of stand.
func (c *Choices) machine(now time.Time, slot tunnel.Slot, s Selection) Machine {
	m, known := c.slots[slot]
	if known && m.Selection == s {
		return m
	}
	if m, known = c.stand[s]; known {
		m.Since, m.Failures, m.Tried, m.Counted = now, 0, nil, time.Time{}
		return m
	}
	return NewMachine(s, now)
}

// Report records the result of a slot's attempt over p, or the end of its connection, at now; addr is the address of a failed dial.
// A result for a protocol that the slot no longer uses is ignored.
func (c *Choices) Report(now time.Time, slot tunnel.Slot, p tunnel.Protocol, e Event, addr netip.AddrPort) (Change, error) {
	m, known := c.slots[slot]
	if !known || m.Current() != p {
		return Change{}, nil
	}
	c.witness(now, slot, m, e, addr)
	next, err := c.step(m, now, e, addr)
	if err != nil {
		return Change{}, err
	}
	change := c.compare(slot, m, next)
	c.slots[slot] = next
	if e == Connected {
		c.stand[next.Selection] = next
	}
	c.share(now, change.Turn, next)
	return change, nil
}

// ProbeDue reports whether the preferred protocol of a slot that is connected over its fallback is to be probed now,
// beside the connection. Probed must follow.
func (c *Choices) ProbeDue(now time.Time, slot tunnel.Slot) (tunnel.Protocol, bool) {
	m, known := c.slots[slot]
	if !known || c.probing || m.State != Fallen || now.Before(m.ProbeAt) {
		return "", false
	}
	c.probing = true
	return m.Selection.Preferred, true
}

// Probed records the result of a probe.
func (c *Choices) Probed(now time.Time, slot tunnel.Slot, e Event) (Change, error) {
	c.probing = false
	m := c.slots[slot]
	if m.State != Fallen {
		return Change{}, nil // another attempt of the slot has ended the fallback meanwhile
	}
	next, err := m.Step(now, ProbeDue, netip.AddrPort{})
	if err == nil {
		next, err = c.step(next, now, e, netip.AddrPort{})
	}
	if err != nil {
		return Change{}, err
	}
	m.State = Probing
	change := c.compare(slot, m, next)
	c.slots[slot] = next
	c.share(now, change.Turn, next)
	return change, nil
}

// witness notes what the result of a slot says about the preferred protocol on this host.
func (c *Choices) witness(now time.Time, slot tunnel.Slot, m Machine, e Event, addr netip.AddrPort) {
	delete(c.up, slot)
	preferred := m.State != Fallen
	switch {
	case preferred && e == Connected:
		c.up[slot] = true
		delete(c.dark, m.Selection)
	case !preferred || e != DialFailed && e != Refused && e != Overtaken:
	case c.works(m.Selection):
		delete(c.dark, m.Selection) // the fault is an address's
	default:
		d, found := c.dark[m.Selection]
		if !found {
			d = NewMachine(m.Selection, now)
		}
		switch {
		case d.State != Preferring:
		case e == Overtaken:
			c.dark[m.Selection] = d.fallen(now, ProbeFirst)
		case e == Refused:
			c.dark[m.Selection] = d.refused(now, addr)
		default:
			c.dark[m.Selection] = d.counted(now, addr)
		}
	}
}

// works reports whether some slot is connected over the preferred protocol.
func (c *Choices) works(s Selection) bool {
	for slot := range c.up {
		if c.slots[slot].Selection == s {
			return true
		}
	}
	return false
}

// step calls Machine.Step, lets a failed dial count as the host's, and adds jitter to the time of the next probe.
func (c *Choices) step(m Machine, now time.Time, e Event, addr netip.AddrPort) (Machine, error) {
	next, err := m.Step(now, e, addr)
	failed := e == DialFailed || e == Refused
	if err == nil && failed && m.State == Preferring && next.State == Preferring && c.dark[m.Selection].State == Fallen {
		next = next.fallen(now, ProbeFirst)
	}
	if err == nil && next.State == Fallen && m.State != Fallen {
		if m.State == Preferring {
			next.ProbeAfter, next.ProbeAt = c.first, now.Add(c.first)
		}
		next.ProbeAt = next.ProbeAt.Add(time.Duration(c.random(max(int64(next.ProbeAfter/probeJitter), 1))))
	}
	return next, err
}

// compare returns the turn from m to next; the slot still has m.
func (c *Choices) compare(slot tunnel.Slot, m, next Machine) Change {
	change := Change{From: m.Current(), To: next.Current(), ProbeAt: next.ProbeAt}
	switch {
	case next.State == Fallen && m.State == Preferring:
		change.Turn, change.Failures = FellBack, m.Failures+1
	case next.State == Fallen && m.State == Probing:
		change.Turn = ProbeFailed
	case next.State == Preferring && m.State == Probing:
		change.Turn, change.From = Returned, m.Selection.Fallback
	default:
		return Change{}
	}
	change.First = true
	for other, o := range c.slots {
		if other != slot && o.Selection == next.Selection && o.State != Preferring {
			change.First = false
		}
	}
	return change
}

// share applies the result of a probe to all slots that wait to probe the same protocol.
func (c *Choices) share(now time.Time, t Turn, from Machine) {
	if t != Returned && t != ProbeFailed {
		return
	}
	follow := func(m Machine) Machine {
		switch {
		case m.State != Fallen || m.Selection != from.Selection:
		case t == Returned:
			m = NewMachine(m.Selection, now)
		case m.ProbeAt.Before(from.ProbeAt):
			m.ProbeAt, m.ProbeAfter = from.ProbeAt, max(m.ProbeAfter, from.ProbeAfter)
		}
		return m
	}
	for slot, m := range c.slots {
		c.slots[slot] = follow(m)
	}
	for s, m := range c.stand {
		c.stand[s] = follow(m)
	}
}

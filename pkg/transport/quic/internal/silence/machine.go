package silence

import "time"

const (
	// Every is the time between two checks of a session that waits for a packet, idle the same of any other session.
	Every = 100 * time.Millisecond
	idle  = 250 * time.Millisecond
	// ReplyTime is how long the port may take to respond to a probe.
	ReplyTime = 200 * time.Millisecond

	// minSilence is the least silence of a session whose port is probed, and minUnanswered the least number of packets that it sent
	// meanwhile: a keep-alive and what the transport sent because that was not acknowledged. One packet may be an acknowledgement,
	// which gets no response.
	minSilence    = 150 * time.Millisecond
	minUnanswered = 3
	// roundTrips is the least silence in round trips.
	roundTrips = 3
	// askAgain is the time until the next probe of a port that did not respond, trustTime the same of one that did.
	askAgain  = 250 * time.Millisecond
	trustTime = time.Second
	// confirmTime is how long the session must stay silent after the port was closed for the first time, unless the next probe finds
	// it closed as well.
	confirmTime = 250 * time.Millisecond
	// maxStep is the most that one check adds to a silence: a process that was stopped has not listened meanwhile.
	maxStep = 3 * Every
)

// Seen is what is known of a session: the packets so far, and the round trip.
type Seen struct {
	Sent, Received uint64
	RTT            time.Duration
}

// Action is what follows from a check.
type Action uint8

// The actions.
const (
	None Action = iota
	// Ask probes the port of the edge; its reply goes to Reply.
	Ask
	// End ends the session.
	End
)

// Port is what a probe found.
type Port uint8

// The findings.
const (
	Silent Port = iota // nothing came back
	Open               // something listens there
	Closed             // the host says that nothing listens there
)

// Machine is the state of one session. It is not safe for concurrent use.
type Machine struct {
	received, sentBefore uint64
	// waits says that something was sent since the last packet came.
	waits  bool
	silent time.Duration
	// wait is the time until the port may be probed again, sinceClosed the time since it was found closed for the first time; negative
	// while it was not.
	wait        time.Duration
	sinceClosed time.Duration
}

// New makes the machine of a session that has just been opened.
func New(s Seen) *Machine {
	return &Machine{received: s.Received, sentBefore: s.Sent, sinceClosed: -1}
}

// Check returns what to do after elapsed has passed since the last check or reply.
func (m *Machine) Check(elapsed time.Duration, s Seen) Action {
	if m.heard(s) {
		return None
	}
	m.waits = s.Sent != m.sentBefore
	elapsed = min(elapsed, maxStep)
	m.silent += elapsed
	m.wait -= elapsed
	if m.sinceClosed >= 0 {
		m.sinceClosed += elapsed
	}
	switch {
	case s.Sent-m.sentBefore < minUnanswered, m.silent < max(minSilence, roundTrips*s.RTT):
		return None
	case m.sinceClosed >= max(confirmTime, roundTrips*s.RTT):
		return End
	case m.wait <= 0:
		return Ask
	}
	return None
}

// Next is the time until the next check.
func (m *Machine) Next() time.Duration {
	if m.waits {
		return Every
	}
	return idle
}

// Reply handles what a probe found.
func (m *Machine) Reply(p Port, s Seen) Action {
	if m.heard(s) || s.Sent-m.sentBefore < minUnanswered {
		return None
	}
	switch p {
	case Open:
		m.sinceClosed, m.wait = -1, trustTime
	case Silent:
		m.wait = askAgain
	case Closed:
		if m.sinceClosed >= 0 {
			return End
		}
		m.sinceClosed = 0
		return Ask
	}
	return None
}

// heard takes everything back when a packet has come.
func (m *Machine) heard(s Seen) bool {
	if s.Received == m.received {
		return false
	}
	m.received, m.sentBefore, m.waits = s.Received, s.Sent, false
	m.silent, m.wait, m.sinceClosed = 0, 0, -1
	return true
}

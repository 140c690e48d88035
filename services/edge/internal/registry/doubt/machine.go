package doubt

import "time"

const (
	// Every is the time between two checks of a connection.
	Every = 50 * time.Millisecond
	// After is the silence since a request after which a connection is in doubt, on a path with a short round trip.
	After = 250 * time.Millisecond

	// probeAfter is the silence since a request after which the connection is probed: over HTTP/2 a living peer need not send
	// anything before its response. replyTime is how long the reply may take. Both are longer on a path with a long round trip.
	probeAfter = 100 * time.Millisecond
	replyTime  = After - probeAfter
	// unknownReplyTime is replyTime while the round trip is not known.
	unknownReplyTime = time.Second
	// quietAfter is the silence after which a connection is probed on which a request waits, though nothing was sent lately. It is
	// slightly more than the interval of a connector's keep-alive pings over QUIC (docs/spec/wire.md 4).
	quietAfter = 1100 * time.Millisecond
	// probeAgain is the time between two probes of a connection in doubt.
	probeAgain = 500 * time.Millisecond
	// maxStep is the most that one check adds to a silence: a process that was stopped has not listened meanwhile.
	maxStep = 2 * Every
)

// Seen is what one check sees of a connection.
type Seen struct {
	// Received changes whenever something arrives.
	Received uint64
	// Begun changes with every request that begins. Waiting says that at least one has not ended.
	Begun   uint32
	Waiting bool
	// RTT is the round trip, 0 while it is not known.
	RTT time.Duration
}

// Action is what follows from a check.
type Action uint8

// The actions.
const (
	None Action = iota
	// Probe asks the peer's transport for a sign of life.
	Probe
	// Doubt: the connection is in doubt from now on.
	Doubt
	// Trust: the connection has shown life, and is no longer in doubt.
	Trust
)

// String names the action in messages of tests.
func (a Action) String() string {
	return [...]string{None: "none", Probe: "probe", Doubt: "doubt", Trust: "trust"}[a]
}

// state is the state of a connection.
type state uint8

const (
	trusted state = iota
	asked         // a request began after the last sign of life
	probed        // a probe was sent after the last sign of life
	doubted
)

// Machine is the state of one connection. It is not safe for concurrent use.
type Machine struct {
	state    state
	received uint64
	begun    uint32
	// silent is the time since the last sign of life, inState the time since the machine entered its state or repeated a probe.
	silent, inState time.Duration
}

// Idle reports whether a check may be left out: nothing waits on the connection, and nothing began since the last check.
func (m *Machine) Idle(begun uint32, waiting bool) bool {
	return m.state == trusted && begun == m.begun && !waiting
}

// Check returns what to do after elapsed has passed since the last check.
func (m *Machine) Check(elapsed time.Duration, s Seen) Action {
	elapsed = min(elapsed, maxStep)
	m.silent += elapsed
	m.inState += elapsed
	began := s.Begun != m.begun
	m.begun = s.Begun
	if s.Received != m.received {
		m.received = s.Received
		return m.heard(began && s.Waiting)
	}
	switch m.state {
	case trusted:
		if began {
			m.enter(asked)
		} else if s.Waiting && m.silent >= max(quietAfter, 2*s.RTT) {
			return m.probe()
		}
	case asked:
		if m.inState >= max(probeAfter, 2*s.RTT) {
			return m.probe()
		}
	case probed:
		if m.inState >= patience(s.RTT) {
			m.enter(doubted)
			return Doubt
		}
	case doubted:
		if m.inState >= probeAgain {
			m.inState = 0
			return Probe
		}
	}
	return None
}

// NotSent takes back a Probe that could not be sent: silence proves nothing then.
func (m *Machine) NotSent() {
	if m.state == probed {
		m.enter(asked)
	}
}

// heard handles a sign of life. A request that began in the same interval may have begun after it.
func (m *Machine) heard(began bool) Action {
	was := m.state
	m.silent = 0
	m.enter(trusted)
	if began {
		m.enter(asked)
	}
	if was == doubted {
		return Trust
	}
	return None
}

func (m *Machine) probe() Action {
	m.enter(probed)
	return Probe
}

func (m *Machine) enter(s state) { m.state, m.inState = s, 0 }

// patience is how long the reply to a probe may take. The factor leaves room for a path whose delay varies.
func patience(rtt time.Duration) time.Duration {
	if rtt == 0 {
		return unknownReplyTime
	}
	return max(replyTime, 3*rtt)
}

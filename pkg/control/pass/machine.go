package pass

import (
	"errors"
	"io"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Role is the lead that supervisors share.
const Role = "supervisor"

// Numbers of the loop.
const (
	// LeadTTL is how long a leader that crashed keeps others from planning.
	LeadTTL = 4 * time.Second
	// RestTime is the shortest time between two reads of the store, so that many hints cost few reads.
	RestTime = 10 * time.Millisecond
	// SettleTime is how long the store must have been available without a break before an absence counts: two renewals and
	// some time to connect.
	SettleTime = 2*lease.RenewEvery + time.Second
)

// Errors of Problem.
var (
	ErrStarting = errors.New("supervisor has not looked at the store yet")
	ErrDown     = errors.New("store unavailable")
)

// Topics are the hints that are of interest to a supervisor: each is an event Hinted.
func Topics() []string { return []string{lease.TopicFleet, lease.TopicPools, lease.TopicStatus} }

// Config is what a Machine is made of.
type Config struct {
	// ID names this supervisor among those that share the lead.
	ID string
	// Connections is the number of connections of a connector whose workers set none.
	Connections int
	// Random chooses between addresses that are equally good.
	Random edgepool.Random
	// Entropy is where new connector ids come from.
	Entropy io.Reader
}

// stage is what a Machine waits for.
type stage uint8

const (
	created        stage = iota // Started
	idle                        // Ticked or Hinted
	resting                     // Rested
	takingLead                  // LeadReply
	listingWorkers              // WorkersReply
	readingPool                 // PoolReply
	readingSlots                // SlotsReply
	ensuring                    // ConnectorReply
	readingProved               // ProvedReply
	granting                    // GrantReply
	releasing                   // ReleaseReply
	hinting                     // HintReply, at the end of a pass
	resigning                   // ResignReply
	leaving                     // HintReply, after the lead was given up
	stopped                     // nothing
)

// Machine is the state of one supervisor. It is not safe for concurrent use.
type Machine struct {
	cfg   Config
	stage stage
	// ticked and hinted are events that arrived while a pass ran or the machine rested; each starts another pass.
	ticked, hinted bool
	leading        bool
	// problem is why the last pass failed, or nil.
	problem error
	// steady is the time since which the store has been available; zero while it is not.
	steady time.Time

	// connectors keeps the connector ids: a store that lost them gets the same ones back (docs/spec/lifecycle.md 14.2).
	connectors map[tunnel.ID]tunnel.ConnectorID
	// pools keeps the last good snapshot of each pool (docs/spec/lifecycle.md 14.4).
	pools     map[string]edgepool.Pool
	shortages map[tunnel.ID]plan.Shortage
	health    health

	// read is what the present pass has read, and todo what it still has to write.
	read    reading
	todo    []plan.Action
	written int
}

// NewMachine makes a supervisor that has not started.
func NewMachine(cfg Config) *Machine {
	return &Machine{
		cfg: cfg, problem: ErrStarting,
		connectors: map[tunnel.ID]tunnel.ConnectorID{}, pools: map[string]edgepool.Pool{},
	}
}

// Problem is why the last pass failed: ErrStarting before the first one, ErrDown while the store is unavailable, nil after a success.
func (m *Machine) Problem() error { return m.problem }

// Leading reports whether this supervisor plans, as far as it knows.
func (m *Machine) Leading() bool { return m.leading }

// Step handles one event at now and returns the actions to carry out, in order. now must never decrease. A reply that the machine does not
// wait for is that of a call which Stopped interrupted, and is ignored.
func (m *Machine) Step(now time.Time, e Event) []Action {
	switch e := e.(type) {
	case Started:
		if m.stage == created {
			return m.begin()
		}
	case Ticked:
		m.ticked = true
		return m.next()
	case Hinted:
		m.hinted = true
		return m.next()
	case Rested:
		if m.stage == resting {
			m.stage = idle
		}
		return m.next()
	case Stopped:
		return m.stop()
	case LeadReply, WorkersReply, PoolReply, ConnectorReply, SlotsReply, ProvedReply:
		return m.readReply(now, e)
	case GrantReply, ReleaseReply, HintReply, ResignReply:
		return m.writeReply(e)
	}
	return nil
}

// next begins a pass if the machine is idle and an event asks for one.
func (m *Machine) next() []Action {
	switch {
	case m.stage != idle:
		return nil
	case m.hinted:
		m.hinted = false
	case m.ticked:
		m.ticked = false
	default:
		return nil
	}
	return m.begin()
}

func (m *Machine) begin() []Action {
	m.stage = takingLead
	return []Action{TakeLead{Role: Role, Holder: m.cfg.ID, TTL: LeadTTL}}
}

// end closes a pass that ended with err, which may be nil, after the facts so far.
func (m *Machine) end(err error, facts ...Action) []Action {
	if errors.Is(err, tunnel.ErrUnavailable) {
		m.steady = time.Time{}
	}
	m.read, m.todo, m.written = reading{}, nil, 0
	m.stage = resting
	return append(append(facts, m.judge(err)...), Rest{For: RestTime})
}

// judge remembers the result of a pass, and says once that the store is unavailable and once that it is available again.
func (m *Machine) judge(err error) []Action {
	before := m.problem
	m.problem = err
	if errors.Is(err, tunnel.ErrUnavailable) {
		m.problem = ErrDown
	}
	switch {
	case err == nil && before == nil:
		return nil
	case err == nil:
		return []Action{StoreUp{Again: !errors.Is(before, ErrStarting)}}
	case before == nil || before.Error() != m.problem.Error():
		return []Action{StoreDown{Err: err, Problem: m.problem}}
	default:
		return nil
	}
}

// stop gives the lead up, so that another supervisor takes over at once.
func (m *Machine) stop() []Action {
	switch {
	case m.stage == resigning || m.stage == leaving || m.stage == stopped:
		return nil
	case !m.leading:
		return m.done()
	}
	m.stage = resigning
	return []Action{ResignLead{Role: Role, Holder: m.cfg.ID}}
}

func (m *Machine) resigned(r ResignReply) []Action {
	if r.Err != nil {
		return append([]Action{LeadNotResigned(r)}, m.done()...)
	}
	m.stage = leaving
	return []Action{Hint{Topic: lease.TopicStatus}} // another supervisor's tick does the same a little later
}

func (m *Machine) done() []Action {
	m.stage = stopped
	return []Action{Done{}}
}

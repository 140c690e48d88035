package pass

import (
	"cmp"
	"errors"
	"io"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/outage"
	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/control/workqueue"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Role is the lead that supervisors share.
const Role = "supervisor"

// Numbers of the loop.
const (
	// LeadTTL is how long a leader that crashed keeps others from planning.
	LeadTTL = 4 * time.Second
	// renewLead is how old the lead may be when a call of a pass goes out. An older one is renewed first.
	renewLead = time.Second
	// pauseTime is the longest that a call can take, and some more: when its reply comes later, this process was stopped, and what it has
	// read and decided is of the past.
	pauseTime = 3 * time.Second
	// StandbyTime is the shortest time between two looks of a supervisor that does not lead.
	StandbyTime = time.Second
	// RestTime is the shortest time between two reads of the store, so that many hints cost few reads.
	RestTime = 10 * time.Millisecond
	// SettleTime is how long the store must have been available without a break before an absence counts: two renewals and
	// some time to connect.
	SettleTime = 2*lease.RenewEvery + time.Second
	// learnEvery is how often a supervisor on standby reads the connector ids, so that it knows them when it takes the lead of a store that
	// lost them.
	learnEvery = 10 * time.Second
	// offerAfter is how long a tunnel must be without a connector id before one that never had one here gets a fresh one: its workers may
	// know one.
	offerAfter = 3 * time.Second
)

// Errors of Problem.
var (
	ErrStarting = errors.New("supervisor has not looked at the store yet")
	ErrDown     = errors.New("store unavailable")
)

// Errors of PlanOutdated.
var (
	errPaused = errors.New("this process was stopped during the pass")
	errLead   = errors.New("the lead was lost during the pass")
)

// Topics are the hints that are of interest to a supervisor: each is an event Hinted. That of TopicPools says so.
func Topics() []string { return []string{lease.TopicFleet, lease.TopicStatus} }

// Config is what a Machine is made of.
type Config struct {
	// ID names this supervisor's process among those that share the lead. No two processes may have the same one.
	ID string
	// Connections is the number of connections of a connector whose workers set none.
	Connections int
	// Random chooses between addresses that are equally good.
	Random edgepool.Random
	// Entropy is where new connector ids come from.
	Entropy io.Reader
	// Settle replaces SettleTime; zero is SettleTime. Tests plant a fault with it.
	Settle time.Duration
}

// stage is what a Machine waits for.
type stage uint8

const (
	created          stage = iota // Started
	idle                          // Ticked or Hinted
	resting                       // Rested
	takingLead                    // LeadReply
	renewingLead                  // LeadReply, in the middle of a pass
	listingWorkers                // WorkersReply
	readingDesired                // DesiredReply
	readingPool                   // PoolReply
	readingSlots                  // SlotsReply
	readingConnector              // ConnectorReply
	ensuring                      // ConnectorReply, after an id was offered
	readingProved                 // ProvedReply
	granting                      // GrantReply
	releasing                     // ReleaseReply
	reconnecting                  // ReconnectReply
	answering                     // AnswerReply
	restoring                     // RestoreReply
	beginning                     // GenerationReply
	notifying                     // NotifyReply
	hinting                       // HintReply, at the end of a pass
	resigning                     // ResignReply
	leaving                       // HintReply, after the lead was given up
	stopped                       // nothing
)

// Machine is the state of one supervisor. It is not safe for concurrent use.
type Machine struct {
	cfg   Config
	stage stage
	// ticked and hinted are events that arrived while a pass ran or the machine rested; each starts another pass.
	ticked, hinted bool
	leading        bool
	// term is the highest term seen; it is this supervisor's own while it leads.
	term lease.Term
	// team lists the supervisors that lead together. owners names the one that plans for each shard. reshared is true after the shards of
	// this supervisor changed.
	team     lease.Team
	owners   [shard.Count]string
	reshared bool
	// pace spaces the grants of this supervisor.
	pace pacer
	// asked is when the lead was taken or renewed last, as of the moment when the call went out; called is when the last call did.
	asked, called time.Time
	// late says that this process was stopped during the present pass.
	late bool
	// postponed is the call that waits for the renewal of the lead, and then what the machine waits for afterwards.
	postponed []Action
	then      stage
	// problem is why the last pass failed, or nil; err is why the present one will.
	problem, err error
	// now is the time of the present step.
	now time.Time
	// lead is the highest term of the lead's record, clock the server's time, heard when it was asked for; lost is when the store was found
	// to have lost data.
	lead         lease.Term
	clock, until time.Duration // until is when the lead ends by that clock
	heard, lost  time.Time
	// learned is when a supervisor on standby read the connector ids last.
	learned time.Time
	// troubles are errors that were told, with the time when they were seen last; outages says which outages are told.
	troubles map[string]time.Time
	outages  outage.Notices
	// hurts are the damaged slots of each tunnel that were seen last.
	hurts map[tunnel.ID][]lease.Damaged
	// doubts and epochs are kept for each tunnel, highest is the highest epoch of each slot that was ever seen; absent is since when a
	// tunnel has no connector id.
	doubts  map[tunnel.ID]doubt
	epochs  map[tunnel.ID]map[tunnel.ConnIndex]tunnel.Epoch
	highest map[tunnel.ID]map[tunnel.ConnIndex]tunnel.Epoch
	absent  map[tunnel.ID]time.Time
	// fleet are the workers that were listed lately.
	fleet map[tunnel.WorkerID]sighting
	// workers are those that were listed last, marks is the version of the marks that came with them, and silent are the tunnels of those
	// that make no marks. serving is made of the workers.
	workers []fleet.Worker
	serving plan.Serving
	marks   uint64
	silent  []tunnel.ID
	// wanted are the connectors that there should be, recent what was read of them last, and queue says which are read next.
	wanted map[tunnel.ID]plan.Desired
	recent map[tunnel.ID]known
	queue  workqueue.Queue
	// review asks to look through recent for what could be better, looked is when that was done last. pooled is when all pools were read last,
	// and repool asks to read them again.
	review, repool bool
	looked, pooled time.Time
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
	// scattered is World.Scattered, since since; ended are, for each tunnel of the pass, the slots whose workers' leases have ended.
	scattered bool
	since     time.Time
	ended     map[tunnel.ID][]lease.Ended
	notices   notices
	wishes    wishes
	// regenerate asks for a new generation, at the end of a pass; legacy says that a worker without a lease as a whole got a grant.
	regenerate, legacy bool
}

// NewMachine makes a supervisor that has not started.
func NewMachine(cfg Config) *Machine {
	cfg.Settle = cmp.Or(cfg.Settle, SettleTime)
	return &Machine{
		cfg: cfg, problem: ErrStarting,
		connectors: map[tunnel.ID]tunnel.ConnectorID{}, pools: map[string]edgepool.Pool{}, troubles: map[string]time.Time{},
		doubts: map[tunnel.ID]doubt{}, epochs: map[tunnel.ID]map[tunnel.ConnIndex]tunnel.Epoch{},
		highest: map[tunnel.ID]map[tunnel.ConnIndex]tunnel.Epoch{}, absent: map[tunnel.ID]time.Time{},
		hurts: map[tunnel.ID][]lease.Damaged{}, recent: map[tunnel.ID]known{}, shortages: map[tunnel.ID]plan.Shortage{},
		fleet: map[tunnel.WorkerID]sighting{}, ended: map[tunnel.ID][]lease.Ended{}, notices: newNotices(), wishes: newWishes(),
	}
}

// Problem is why the last pass failed: ErrStarting before the first one, ErrDown while the store is unavailable, nil after a success.
func (m *Machine) Problem() error { return m.problem }

// Leading reports whether this supervisor plans, as far as it knows.
func (m *Machine) Leading() bool { return m.leading }

// Step handles one event at now and returns the actions to carry out, in order. now must never decrease. A reply that the machine does not
// wait for is that of a call which Stopped interrupted, and is ignored.
func (m *Machine) Step(now time.Time, e Event) []Action {
	m.now = now
	switch e := e.(type) {
	case Started:
		if m.stage == created {
			return m.begin(now)
		}
	case Ticked:
		m.ticked = true
		return m.next(now)
	case Hinted:
		m.hinted, m.repool = true, m.repool || e.Pools
		return m.next(now)
	case Rested:
		if m.stage == resting {
			m.stage = idle
		}
		return m.next(now)
	case Stopped:
		return m.stop()
	case LeadReply, WorkersReply, DesiredReply, PoolReply, ConnectorReply, SlotsReply, ProvedReply:
		m.late = m.late || now.Sub(m.called) > pauseTime
		return m.guard(now, m.readReply(e))
	case GrantReply, ReleaseReply, ReconnectReply, AnswerReply, RestoreReply, GenerationReply, NotifyReply, HintReply, ResignReply:
		m.late = m.late || now.Sub(m.called) > pauseTime
		return m.guard(now, m.writeReply(e))
	}
	return nil
}

// guard is the last look at what the machine decided in a pass. It drops the call of a pass during which this process was stopped, and
// puts a renewal of the lead before a call when the lead is no longer fresh.
func (m *Machine) guard(now time.Time, actions []Action) []Action {
	if len(actions) == 0 {
		return nil
	}
	facts, call := actions[:len(actions)-1], actions[len(actions)-1]
	switch call.(type) {
	case ListWorkers, ReadDesired, ReadPool, ReadConnector, EnsureConnector, ReadSlots, ReadProved, Grant, Release, AskReconnect:
		switch {
		case m.late:
			actions = m.abandon(errPaused, facts...)
		case m.leading && now.Sub(m.asked) >= renewLead:
			m.postponed, m.then = []Action{call}, m.stage
			actions = append(facts, m.takeLead(renewingLead))
		}
	}
	m.called = now
	return actions
}

// abandon drops what is left of a pass, after the facts so far. The next pass follows at once.
func (m *Machine) abandon(err error, facts ...Action) []Action {
	m.todo, m.hinted, m.wishes.answers = nil, true, nil
	return m.write(append(facts, PlanOutdated{Err: err})...)
}

// next begins a pass if the machine is idle and an event asks for one.
func (m *Machine) next(now time.Time) []Action {
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
	return m.begin(now)
}

func (m *Machine) begin(now time.Time) []Action {
	m.late, m.called = false, now
	return []Action{m.takeLead(takingLead)}
}

func (m *Machine) takeLead(s stage) Action {
	m.stage = s
	return TakeLead{Role: Role, Holder: m.cfg.ID, Seen: m.term, TTL: LeadTTL, Join: m.settled()}
}

// end closes a pass that ended with err, which may be nil, after the facts so far.
func (m *Machine) end(err error, facts ...Action) []Action {
	if errors.Is(err, tunnel.ErrUnavailable) {
		m.steady = time.Time{}
	}
	m.read, m.todo, m.written, m.err = reading{}, nil, 0, nil
	m.legacy = false
	m.hinted = m.hinted || err == nil && m.leading && m.queue.Due(m.now)
	clear(m.ended)
	m.stage = resting
	rest := RestTime
	if !m.leading {
		rest = StandbyTime
	}
	return append(append(facts, m.judge(err)...), Rest{For: rest})
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
		again := !errors.Is(before, ErrStarting)
		return []Action{StoreUp{Again: again, Quiet: !m.outages.Up()}}
	}
	news := before == nil || before.Error() != m.problem.Error()
	tell := m.outages.Down(m.now, news)
	if !news && !tell {
		return nil
	}
	return []Action{StoreDown{Err: err, Problem: m.problem, Quiet: !tell}}
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

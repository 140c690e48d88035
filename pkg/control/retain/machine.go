package retain

import (
	"errors"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/control/outage"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// renewEvery is how often the lead is renewed or requested; three attempts fit into its TTL.
	renewEvery = lease.LeaseTTL / 3

	// lookupLimit bounds a lookup: the lead is not lost meanwhile.
	lookupLimit = lease.LeaseTTL * 2 / 3

	// retryBase and retryCount are the shape of the waits after failed lookups: up to 1 min. The first is the wait after a round
	// that failed, too.
	retryBase  = time.Second
	retryCount = 6
)

// askEvery is the least time between two lookups that hints asked for.
const askEvery = 10 * time.Second

// LookTopic is the topic on which the replicas of the pool name wait for hints to look the edge up at once.
func LookTopic(name string) string { return "look:" + name }

// AskLookup is the hint that a worker sends when every address of the pool name fails for it (keep.Asker says when): the addresses may have
// changed since the last lookup. The leader looks up at once, at most every 10 s, however many ask. The sender may ignore an error: the
// refresh on schedule comes anyway.
func AskLookup(name string) Hint { return Hint{Topic: LookTopic(name)} }

// ErrStarting is the problem of a replica before its first round.
var ErrStarting = errors.New("starting")

// Role is the lead that the replicas of the pool name share.
func Role(name string) string { return "discovery:" + name }

// Config is what a Machine is made of.
type Config struct {
	// ID names this replica among those that share the lead.
	ID string
	// Name is the name of the pool.
	Name string
	// Refresh is the time between two lookups that succeed.
	Refresh time.Duration
	// Random draws the waits after lookups that failed.
	Random backoff.Random
}

// stage is what a Machine waits for.
type stage uint8

const (
	waiting       stage = iota // Due
	takingLead                 // LeadReply
	lookingUp                  // LookupReply
	confirming                 // LeadReply, after a lookup
	comparing                  // PoolReply, before the publication
	publishing                 // PublishReply
	hinting                    // HintReply
	readingLeader              // LeaderReply
	readingPool                // PoolReply, at the end of a round
	restoring                  // PublishReply, at the end of a round
	resigning                  // ResignReply
	stopped                    // nothing
)

// Machine is the state of one replica. It is not safe for concurrent use.
type Machine struct {
	cfg     Config
	stage   stage
	leading bool
	// problem is why the last round failed, or nil, and failure why the last lookup did; outages says which outages are told.
	problem, failure error
	outages          outage.Notices

	// due is when the next lookup is due.
	due      time.Time
	failures backoff.Counter
	// next is the end of the present Wait.
	next time.Time

	// pool is the published pool as last read, and since when its version was first seen.
	pool  edgepool.Pool
	since time.Time
	// good is the pool in force: what this replica published last while it leads, else what it read last. A store that lost the pool
	// does not change it.
	good edgepool.Pool

	// result is the reply of the last lookup, kept while the lead is confirmed, and began is when that lookup began.
	result LookupReply
	began  time.Time
	// found is the pool to publish, and changed says that it differs from the published one.
	found   edgepool.Pool
	changed bool
	leader  string
	// unhinted says that the hint after a publication failed.
	unhinted bool
	// round is the error of the present round so far; leads is whether it found this replica leading.
	round error
	leads bool
	// restored says that the present round published the pool once more.
	restored bool
}

// NewMachine makes a replica that waits for its first round.
func NewMachine(cfg Config) *Machine { return &Machine{cfg: cfg, problem: ErrStarting} }

// Problem is why the last round failed: ErrStarting before the first one, nil after a success.
func (m *Machine) Problem() error { return m.problem }

// Leading reports whether this replica publishes, as far as it knows.
func (m *Machine) Leading() bool { return m.leading }

// Step handles one event at now and returns the actions to carry out, in order. now must never decrease. A reply that the machine does not
// wait for is that of a call which Stopped interrupted, and is ignored.
func (m *Machine) Step(now time.Time, e Event) []Action {
	switch e := e.(type) {
	case Due:
		if m.stage == waiting && !now.Before(m.next) {
			m.stage, m.round, m.leads, m.restored = takingLead, nil, false, false
			return m.takeLead()
		}
	case Asked:
		return m.asked(now)
	case Stopped:
		return m.stop()
	case LeadReply:
		if m.stage == takingLead {
			return m.tookLead(now, e)
		}
		if m.stage == confirming {
			return m.confirmed(now, e)
		}
	case LeaderReply:
		if m.stage == readingLeader {
			return m.leaderRead(now, e)
		}
	case PoolReply:
		if m.stage == readingPool {
			return m.poolRead(now, e)
		}
		if m.stage == comparing {
			return m.compare(now, e)
		}
	case ResignReply:
		if m.stage == resigning {
			return m.resigned(e)
		}
	default:
		return m.refreshReply(now, e)
	}
	return nil
}

func (m *Machine) takeLead() []Action {
	return []Action{TakeLead{Role: Role(m.cfg.Name), Holder: m.cfg.ID, TTL: lease.LeaseTTL}}
}

func (m *Machine) tookLead(now time.Time, r LeadReply) []Action {
	if r.Err != nil {
		m.round = r.Err
		return m.end(now)
	}
	m.leads = r.Leading
	var facts []Action
	if m.leading != r.Leading {
		m.leading = r.Leading
		facts = append(facts, LeadChanged{Leading: r.Leading})
	}
	if m.leading && !now.Before(m.due) {
		m.stage, m.began = lookingUp, now
		return append(facts, Lookup{Within: lookupLimit})
	}
	return m.look(facts...)
}

// look reads the leader and the published pool after the facts so far. A hint that failed is sent again before.
func (m *Machine) look(facts ...Action) []Action {
	if m.unhinted {
		return m.hint(facts...)
	}
	return m.readLeader(facts...)
}

func (m *Machine) readLeader(facts ...Action) []Action {
	m.stage = readingLeader
	return append(facts, ReadLeader{Role: Role(m.cfg.Name)})
}

func (m *Machine) leaderRead(now time.Time, r LeaderReply) []Action {
	if r.Err != nil {
		m.round = errors.Join(m.round, r.Err)
		return m.end(now)
	}
	m.leader = r.Leader
	m.stage = readingPool
	return []Action{ReadPool{Name: m.cfg.Name}}
}

// poolRead keeps the published pool. It is no error when there is none yet. The leader restores the pool that a store has lost, or
// has an older version of.
func (m *Machine) poolRead(now time.Time, r PoolReply) []Action {
	if r.Err != nil && !errors.Is(r.Err, tunnel.ErrNotFound) {
		m.round = errors.Join(m.round, r.Err)
		return m.end(now)
	}
	if m.leads && m.leader == m.cfg.ID && !m.restored && r.Pool.Version < m.good.Version {
		m.stage, m.restored = restoring, true
		return []Action{Publish{Name: m.cfg.Name, Pool: m.good}}
	}
	if r.Err == nil {
		m.good = r.Pool
	}
	return m.observed(now, r.Pool)
}

// observed ends a round in which the store was found to hold the pool p.
func (m *Machine) observed(now time.Time, p edgepool.Pool) []Action {
	if m.pool.Version != p.Version {
		m.pool, m.since = p, now
	}
	return m.end(now, Observed{Leader: m.leader, Pool: m.pool, Since: m.since})
}

// restoredPool sends the hint after the pool was published once more, and reads what the store has now. A store that has a better pool
// by now keeps it.
func (m *Machine) restoredPool(now time.Time, r PublishReply) []Action {
	switch {
	case errors.Is(r.Err, tunnel.ErrConflict):
		m.good = edgepool.Pool{}
		return m.readLeader()
	case r.Err != nil:
		m.round = errors.Join(m.round, r.Err)
		return m.end(now)
	}
	m.good.Version = r.Version
	return m.hint(Published{Version: r.Version, Pool: m.good})
}

// end closes a round after the facts so far.
func (m *Machine) end(now time.Time, facts ...Action) []Action {
	before := m.problem
	m.problem = m.round
	facts = append(facts, RoundEnded{Err: m.round})
	fresh := errors.Is(before, ErrStarting)
	switch news := before == nil || fresh; {
	case m.problem == nil && before != nil:
		facts = append(facts, StoreUp{Again: !fresh, Quiet: !m.outages.Up()})
	case m.problem != nil:
		if tell := m.outages.Down(now, news); tell || news {
			facts = append(facts, StoreDown{Err: m.problem, Quiet: !tell})
		}
	}
	m.stage, m.found = waiting, edgepool.Pool{}
	return append(facts, m.rest(now))
}

func (m *Machine) rest(now time.Time) Wait {
	w := Wait{For: m.wait(now)}
	m.next = now.Add(w.For)
	return w
}

// asked makes the next lookup due, 10 s after the last one at the earliest. A replica that does not lead ignores it: all replicas get the
// hint, and one that takes the lead looks up anyway.
func (m *Machine) asked(now time.Time) []Action {
	due := now
	if earliest := m.began.Add(askEvery); !m.began.IsZero() && earliest.After(due) {
		due = earliest
	}
	if !m.leading || m.stage == lookingUp || !due.Before(m.due) {
		return nil
	}
	m.due = due
	if m.stage != waiting || m.problem != nil {
		return nil // the end of the round, or the next one, sees it
	}
	return []Action{m.rest(now)}
}

// wait is the time to the next round: early when a lookup is due, else when the lead must be renewed. If the store is
// unavailable, the next round comes soon.
func (m *Machine) wait(now time.Time) time.Duration {
	switch {
	case m.problem != nil:
		return retryBase
	case m.leads:
		return max(0, min(renewEvery, m.due.Sub(now)))
	default:
		return renewEvery
	}
}

// stop gives the lead up, so that another replica takes over at once.
func (m *Machine) stop() []Action {
	if m.stage == resigning || m.stage == stopped {
		return nil
	}
	m.stage = resigning
	return []Action{ResignLead{Role: Role(m.cfg.Name), Holder: m.cfg.ID}}
}

func (m *Machine) resigned(r ResignReply) []Action {
	m.stage = stopped
	if r.Err != nil {
		return []Action{LeadNotResigned(r), Done{}}
	}
	return []Action{Done{}}
}

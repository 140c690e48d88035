package pass

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// reading is what a pass has read, and where it stands.
type reading struct {
	world plan.World
	// pools are the edge pools to read before the connectors, and poolAt is the present one.
	pools  []string
	poolAt int
	// wanted are the connectors to read, and at is the present one; chosen says that they are known.
	wanted []plan.Desired
	at     int
	chosen bool
	// records are the slots of the present connector, and lost says that it had newer ones before.
	records []lease.Record
	lost    bool
	damaged []tunnel.ConnIndex
	// listing is what was listed, with the workers that the operator drains.
	listing fleet.Listing
	// listed is when the workers were asked for.
	listed time.Time
	// learning says that a supervisor on standby only reads the connector ids.
	learning bool
}

func (r *reading) desired() plan.Desired { return r.wanted[r.at] }

// readReply handles the reply of a read, or of the lead.
func (m *Machine) readReply(e Event) []Action {
	switch e := e.(type) {
	case LeadReply:
		if m.stage == takingLead {
			return m.tookLead(e)
		}
		if m.stage == renewingLead {
			return m.renewedLead(e)
		}
	case WorkersReply:
		if m.stage == listingWorkers {
			return m.listed(e)
		}
	case DesiredReply:
		if m.stage == readingDesired {
			return m.desiredRead(e)
		}
	case PoolReply:
		if m.stage == readingPool {
			return m.poolRead(e)
		}
	case ConnectorReply:
		return m.connectorReply(e)
	case SlotsReply:
		if m.stage == readingSlots {
			return m.slotsRead(e)
		}
	case ProvedReply:
		if m.stage == readingProved {
			return m.provedRead(e)
		}
	}
	return nil
}

// connectorReply handles the reply of both calls about a connector id.
func (m *Machine) connectorReply(r ConnectorReply) []Action {
	if m.stage == readingConnector {
		return m.connectorRead(r)
	}
	if m.stage == ensuring {
		return m.connectorEnsured(r)
	}
	return nil
}

func (m *Machine) tookLead(r LeadReply) []Action {
	if r.Err != nil {
		return m.end(r.Err)
	}
	if m.steady.IsZero() {
		m.steady = m.now
	}
	facts := m.hold(r)
	if !m.leading && m.now.Sub(m.learned) < learnEvery {
		return m.end(nil, facts...)
	}
	m.read.learning = !m.leading
	if m.read.learning {
		m.learned = m.now
	}
	m.stage = listingWorkers
	return append(facts, ListWorkers{Marks: m.marks})
}

// renewedLead goes on with the pass, if the lead that it began under is still in force.
func (m *Machine) renewedLead(r LeadReply) []Action {
	call, term, lost := m.postponed, m.term, m.lost
	m.postponed = nil
	if r.Err != nil {
		m.err, m.todo = r.Err, nil
		return m.write()
	}
	facts := m.hold(r)
	if !m.leading || m.term != term || m.lost != lost {
		return m.abandon(errLead, facts...)
	}
	m.stage = m.then
	return append(facts, call...)
}

// listed keeps the workers. A record that cannot be read hides no other; its worker is not known, so the absence of a worker
// means nothing.
func (m *Machine) listed(r WorkersReply) []Action {
	if errors.Is(r.Err, tunnel.ErrUnavailable) {
		return m.end(r.Err)
	}
	var facts []Action
	if r.Err != nil {
		told := m.trouble(KindWorker, "", r.Err)
		facts = append(facts, told)
		if t, ok := told.(Trouble); ok && t.First {
			m.regenerate = true // its worker writes it anew
		}
	}
	m.read.listed = m.called
	m.read.world = plan.World{Workers: r.Workers, Pools: map[string]edgepool.Pool{}, Random: m.cfg.Random, Unlisted: r.Err != nil}
	m.read.listing = r.Listing
	m.wishes.news = false
	m.wishes.stale = m.wishes.stale || r.Desired || m.marksLost(r.Listing)
	if !m.wishes.due(m.now) {
		return m.known(facts...)
	}
	m.stage = readingDesired
	return append(facts, ReadDesired{Known: m.wishes.state.Version})
}

// known goes on when the workers and the desired state are known.
func (m *Machine) known(facts ...Action) []Action {
	workers := m.wishes.mark(m.read.world.Workers)
	m.read.world.Workers = workers
	before := m.scattered
	if m.scattered = m.seen(workers); m.scattered && !before {
		m.since = m.now
	}
	m.read.listing.Workers = workers
	m.follow(m.read.listing)
	m.choose()
	if !m.read.learning {
		m.choosePools()
	}
	return append(facts, m.readNext()...)
}

// choosePools says which pools the present pass reads: those of its connectors, and now and then all.
func (m *Machine) choosePools() {
	all := m.repool || m.now.Sub(m.pooled) >= poolEvery
	if all {
		m.repool, m.pooled = false, m.now
	}
	for _, d := range m.read.wanted {
		m.needPool(d.Pool)
	}
	if !all {
		return
	}
	var names []string
	for _, d := range m.wanted {
		names = append(names, d.Pool)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		m.needPool(name)
	}
}

func (m *Machine) needPool(name string) {
	if !slices.Contains(m.read.pools, name) {
		m.read.pools = append(m.read.pools, name)
	}
}

// readNext reads the pools, then one connector after the other, and plans when all are read.
func (m *Machine) readNext() []Action {
	if !m.read.learning && !m.read.chosen && m.read.poolAt == len(m.read.pools) {
		m.reviewed()
		m.choose()
		m.choosePools() // of the connectors that the review found
		m.read.chosen = true
	}
	switch {
	case m.read.poolAt < len(m.read.pools):
		m.stage = readingPool
		return []Action{ReadPool{Name: m.read.pools[m.read.poolAt]}}
	case m.read.at < len(m.read.wanted):
		return m.readConnector()
	case m.read.learning:
		return m.end(nil)
	}
	return m.plan(m.now)
}

// poolRead keeps a pool. One that the store lost, or that cannot be read, is as it was read last.
func (m *Machine) poolRead(r PoolReply) []Action {
	name := m.read.pools[m.read.poolAt]
	m.read.poolAt++
	var facts []Action
	switch {
	case r.Err == nil:
		m.review = m.review || m.pools[name].Version != r.Pool.Version
		m.pools[name] = r.Pool
	case !errors.Is(r.Err, tunnel.ErrNotFound):
		facts = append(facts, m.trouble(KindPool, name, r.Err))
	}
	m.read.world.Pools[name] = m.pools[name]
	return append(facts, m.readNext()...)
}

// readConnector checks which connector id the store has.
func (m *Machine) readConnector() []Action {
	m.read.records, m.read.lost, m.read.damaged = nil, false, nil
	m.stage = readingConnector
	return []Action{ReadConnector{Tunnel: m.read.desired().Tunnel}}
}

// connectorRead follows the store's id. One that the store lost, or that cannot be read, is put back, since workers that start could not
// learn it; a fresh one waits for workers that know the former one.
func (m *Machine) connectorRead(r ConnectorReply) []Action {
	t := m.read.desired().Tunnel
	id, known := m.connectors[t]
	if r.Err == nil || !errors.Is(r.Err, tunnel.ErrNotFound) {
		delete(m.absent, t)
	}
	switch {
	case r.Err == nil:
		var facts []Action
		if known && r.ID != id {
			facts = append(facts, m.trouble(KindConnector, t.String(), errOtherID))
			delete(m.epochs, t)
			delete(m.highest, t)
		}
		m.connectors[t] = r.ID
		return append(facts, m.withConnector(r.ID)...)
	case m.read.learning:
		return m.learnt(learnEvery)
	case errors.Is(r.Err, tunnel.ErrNotFound) && known:
		m.read.lost = true
		return m.ensure(id)
	case errors.Is(r.Err, tunnel.ErrNotFound):
		return m.offer(t)
	case known && !errors.Is(r.Err, tunnel.ErrUnavailable):
		return append([]Action{m.trouble(KindConnector, t.String(), r.Err)}, m.ensure(id)...)
	default:
		return m.unread(KindConnector, r.Err)
	}
}

// withConnector goes on with a connector whose id is known.
func (m *Machine) withConnector(id tunnel.ConnectorID) []Action {
	if m.read.learning {
		return m.learnt(sweepEvery)
	}
	return m.readSlots(id)
}

// learnt goes on with the next connector id that a supervisor on standby learns; this one is read again after a while.
func (m *Machine) learnt(again time.Duration) []Action {
	m.queue.Done(m.now, m.read.desired().Tunnel, m.now.Add(again))
	m.read.at++
	return m.readNext()
}

// offer gives a tunnel that never had a connector id here a fresh one, unless a worker does so before.
func (m *Machine) offer(t tunnel.ID) []Action {
	since, found := m.absent[t]
	if !found {
		m.absent[t] = m.now
		since = m.now
	}
	if m.now.Sub(since) < offerAfter {
		m.queue.Done(m.now, t, m.now.Add(busyEvery))
		m.read.at++
		return m.readNext()
	}
	fresh, err := tunnel.NewConnectorID(m.cfg.Entropy)
	if err != nil {
		return m.unread(KindConnector, fmt.Errorf("connector id: %w", err))
	}
	return m.ensure(fresh)
}

func (m *Machine) readSlots(id tunnel.ConnectorID) []Action {
	m.stage = readingSlots
	return []Action{ReadSlots{Term: m.term, Tunnel: m.read.desired().Tunnel, Connector: id}}
}

// ensure makes the store know the connector's id.
func (m *Machine) ensure(candidate tunnel.ConnectorID) []Action {
	m.stage = ensuring
	return []Action{EnsureConnector{Tunnel: m.read.desired().Tunnel, Candidate: candidate}}
}

func (m *Machine) connectorEnsured(r ConnectorReply) []Action {
	t := m.read.desired().Tunnel
	switch id, known := m.connectors[t]; {
	case r.Err == nil:
	case known && !m.read.lost && !errors.Is(r.Err, tunnel.ErrUnavailable): // it cannot be read or written: it is as it was read last
		return append([]Action{m.trouble(KindConnector, t.String(), r.Err)}, m.readSlots(id)...)
	default:
		return m.unread(KindConnector, r.Err)
	}
	m.connectors[t] = r.ID
	return m.readSlots(r.ID)
}

func (m *Machine) slotsRead(r SlotsReply) []Action {
	if m.overtaken(r.Err) {
		return m.abandon(r.Err)
	}
	if r.Err != nil {
		return m.unread(KindSlots, r.Err)
	}
	damaged, facts := m.hurt(r.Damaged)
	m.read.records, m.read.damaged = m.living(r.Records), damaged
	m.read.lost = m.losses(r.Records) || m.read.lost
	for _, record := range m.read.records {
		if record.Live && record.Status.State == lease.StateConnected {
			return append(facts, m.complete(true)...)
		}
	}
	m.stage = readingProved
	t := m.read.desired().Tunnel
	return append(facts, ReadProved{Tunnel: t, Connector: m.connectors[t]})
}

// overtaken reports whether err says that a leader with a newer term was there, and remembers that term.
func (m *Machine) overtaken(err error) bool {
	var newer *lease.OvertakenError
	if !errors.As(err, &newer) {
		return false
	}
	m.term = max(m.term, newer.Term)
	return true
}

func (m *Machine) provedRead(r ProvedReply) []Action {
	if r.Err != nil {
		return m.unread(KindSlots, r.Err)
	}
	return m.complete(r.Proved)
}

// occupied are the addresses of the damaged slots of the present connector when they could be read last.
func (m *Machine) occupied(t tunnel.ID) map[tunnel.ConnIndex]tunnel.EdgeAddr {
	if len(m.read.damaged) == 0 {
		return nil
	}
	before, out := m.recent[t], map[tunnel.ConnIndex]tunnel.EdgeAddr{}
	for _, index := range m.read.damaged {
		if addr, found := before.Occupied[index]; found {
			out[index] = addr
		}
		for _, r := range before.Records {
			if r.Slot.Index == index && r.Live && r.Worker != "" {
				out[index] = r.Edge
			}
		}
	}
	return out
}

// complete takes the connector into the world.
func (m *Machine) complete(proved bool) []Action {
	d := m.read.desired()
	doubt := m.doubts[d.Tunnel]
	var facts []Action
	if m.read.lost {
		doubt.lost = m.now
		m.doubts[d.Tunnel] = doubt
		facts = append(facts, m.trouble(KindLoss, d.Tunnel.String(), errLost))
	}
	// A supervisor that has just started cannot know what the store lost: the claims show it.
	claimed := m.read.listed.Sub(m.steady) < m.cfg.Settle &&
		slices.ContainsFunc(m.read.records, func(r lease.Record) bool { return r.Claimed })
	// Who was absent when the workers were listed may have come since.
	recent := func(t time.Time) bool { return !t.IsZero() && m.read.listed.Sub(t) < m.cfg.Settle }
	m.read.world.Connectors = append(m.read.world.Connectors, plan.Connector{
		Desired: d, ID: m.connectors[d.Tunnel], Records: m.read.records, Damaged: m.read.damaged, Proved: proved,
		Occupied:  m.occupied(d.Tunnel),
		Unsettled: recent(doubt.failed), Lost: recent(doubt.lost) || recent(m.lost) || claimed,
	})
	m.read.at++
	return append(facts, m.readNext()...)
}

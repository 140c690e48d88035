package pass

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// reading is what a pass has read, and where it stands.
type reading struct {
	world plan.World
	// wanted are the connectors to read, and at is the present one.
	wanted []plan.Desired
	at     int
	// ensured says that the id of the present connector was confirmed by the store; records are its slots.
	ensured bool
	records []lease.Record
}

func (r *reading) desired() plan.Desired { return r.wanted[r.at] }

// readReply handles the reply of a read, or of the lead.
func (m *Machine) readReply(now time.Time, e Event) []Action {
	switch e := e.(type) {
	case LeadReply:
		if m.stage == takingLead {
			return m.tookLead(now, e)
		}
		if m.stage == renewingLead {
			return m.renewedLead(now, e)
		}
	case WorkersReply:
		if m.stage == listingWorkers {
			return m.listed(now, e)
		}
	case PoolReply:
		if m.stage == readingPool {
			return m.poolRead(e)
		}
	case ConnectorReply:
		if m.stage == ensuring {
			return m.connectorEnsured(e)
		}
	case SlotsReply:
		if m.stage == readingSlots {
			return m.slotsRead(now, e)
		}
	case ProvedReply:
		if m.stage == readingProved {
			return m.provedRead(now, e)
		}
	}
	return nil
}

func (m *Machine) tookLead(now time.Time, r LeadReply) []Action {
	if r.Err != nil {
		return m.end(r.Err)
	}
	if m.steady.IsZero() {
		m.steady = now
	}
	facts := m.hold(r.Lead)
	if !m.leading {
		return m.end(nil, facts...)
	}
	m.stage = listingWorkers
	return append(facts, ListWorkers{})
}

// hold keeps what the store says of the lead.
func (m *Machine) hold(l lease.Lead) []Action {
	m.term, m.asked = max(m.term, l.Term), m.called
	if m.leading == l.Holds {
		return nil
	}
	m.leading = l.Holds
	return []Action{LeadChanged{Leading: m.leading}}
}

// renewedLead goes on with the pass, if the lead that it began under is still in force.
func (m *Machine) renewedLead(now time.Time, r LeadReply) []Action {
	call, term := m.postponed, m.term
	m.postponed = nil
	if r.Err != nil {
		return m.end(r.Err)
	}
	facts := m.hold(r.Lead)
	if !m.leading || m.term != term {
		return m.abandon(errLead, facts...)
	}
	m.stage = m.then
	return append(facts, call...)
}

func (m *Machine) listed(now time.Time, r WorkersReply) []Action {
	if r.Err != nil {
		return m.end(r.Err)
	}
	m.read = reading{
		world:  plan.World{Workers: r.Workers, Pools: map[string]edgepool.Pool{}, Random: m.cfg.Random},
		wanted: plan.Wanted(r.Workers, m.cfg.Connections),
	}
	return m.readNext(now)
}

// readNext begins with the next connector, or plans when all are read.
func (m *Machine) readNext(now time.Time) []Action {
	if m.read.at == len(m.read.wanted) {
		return m.plan(now)
	}
	name := m.read.desired().Pool
	if _, found := m.read.world.Pools[name]; !found {
		m.stage = readingPool
		return []Action{ReadPool{Name: name}}
	}
	return m.readConnector()
}

// poolRead keeps a pool. One that the store lost is as it was read last.
func (m *Machine) poolRead(r PoolReply) []Action {
	name := m.read.desired().Pool
	switch {
	case r.Err == nil:
		m.pools[name] = r.Pool
	case !errors.Is(r.Err, tunnel.ErrNotFound):
		return m.end(r.Err)
	}
	m.read.world.Pools[name] = m.pools[name]
	return m.readConnector()
}

func (m *Machine) readConnector() []Action {
	m.read.ensured, m.read.records = false, nil
	id, known := m.connectors[m.read.desired().Tunnel]
	if !known {
		return m.ensure()
	}
	return m.readSlots(id)
}

func (m *Machine) readSlots(id tunnel.ConnectorID) []Action {
	m.stage = readingSlots
	return []Action{ReadSlots{Term: m.term, Tunnel: m.read.desired().Tunnel, Connector: id}}
}

// ensure makes the store know the connector's id: a fresh one, or the one that was known here.
func (m *Machine) ensure() []Action {
	t := m.read.desired().Tunnel
	candidate, known := m.connectors[t]
	if !known {
		fresh, err := tunnel.NewConnectorID(m.cfg.Entropy)
		if err != nil {
			return m.end(fmt.Errorf("connector id: %w", err))
		}
		candidate = fresh
	}
	m.stage = ensuring
	return []Action{EnsureConnector{Tunnel: t, Candidate: candidate}}
}

func (m *Machine) connectorEnsured(r ConnectorReply) []Action {
	if r.Err != nil {
		return m.end(r.Err)
	}
	m.connectors[m.read.desired().Tunnel] = r.ID
	m.read.ensured = true
	return m.readSlots(r.ID)
}

func (m *Machine) slotsRead(now time.Time, r SlotsReply) []Action {
	if m.overtaken(r.Err) {
		return m.abandon(r.Err)
	}
	if r.Err != nil {
		return m.end(r.Err)
	}
	if len(r.Records) == 0 && !m.read.ensured { // new here, or forgotten by the store
		return m.ensure()
	}
	m.read.records = r.Records
	for _, record := range r.Records {
		if record.Live && record.Status.State == lease.StateConnected {
			return m.connectorRead(now, true)
		}
	}
	m.stage = readingProved
	t := m.read.desired().Tunnel
	return []Action{ReadProved{Tunnel: t, Connector: m.connectors[t]}}
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

func (m *Machine) provedRead(now time.Time, r ProvedReply) []Action {
	if r.Err != nil {
		return m.end(r.Err)
	}
	return m.connectorRead(now, r.Proved)
}

func (m *Machine) connectorRead(now time.Time, proved bool) []Action {
	d := m.read.desired()
	m.read.world.Connectors = append(m.read.world.Connectors, plan.Connector{
		Desired: d, ID: m.connectors[d.Tunnel], Records: m.read.records, Proved: proved,
	})
	m.read.at++
	return m.readNext(now)
}

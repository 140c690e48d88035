package pass

import (
	"errors"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Kind is what an error is about.
type Kind string

// The kinds of trouble.
const (
	KindWorker    Kind = "worker"    // the registration of a worker
	KindPool      Kind = "pool"      // an edge pool
	KindConnector Kind = "connector" // the connector id of a tunnel
	KindSlots     Kind = "slots"     // the slots of a connector
	KindRecord    Kind = "record"    // the record of one slot
	KindGrant     Kind = "grant"     // a grant or a release
	KindHint      Kind = "hint"      // the hint for workers
	KindDesired   Kind = "desired"   // what operators desire
	KindLoss      Kind = "loss"      // the store lost data, or its clock stepped
)

const (
	// quietAfter is how long a trouble must be over before it is told again.
	quietAfter = time.Minute
	// clockStep is how much the server's clock may seem to step because calls take time.
	clockStep = pauseTime
)

// Errors of Trouble with KindLoss and KindConnector.
var (
	errLost    = errors.New("the store lost data")
	errStepped = errors.New("the clock of the store stepped")
	errDamaged = errors.New("the record cannot be read")
	errOtherID = errors.New("the store has another connector id than before")
)

// trouble is the fact of an error that ends nothing.
func (m *Machine) trouble(k Kind, subject string, err error) Action {
	if k == KindLoss {
		m.regenerate = true
	}
	key := string(k) + " " + subject
	if errors.Is(err, tunnel.ErrUnavailable) {
		key = "unavailable" // a part of the store is down, with what it has of many tunnels
	}
	last, found := m.troubles[key]
	m.troubles[key] = m.now
	return Trouble{Kind: k, Subject: subject, Err: err, First: !found || m.now.Sub(last) > quietAfter}
}

// hold keeps what the store says of the lead, and notices by it when the store lost data: the lead's record has a lower term or an
// earlier end than before, or it ran out although this supervisor renewed it in time, or the clock stepped. Then absent records mean
// nothing until their owners had the time to report.
func (m *Machine) hold(r LeadReply) []Action {
	l := r.Lead
	facts := m.leadLost(r)
	m.term, m.lead, m.asked = max(m.term, l.Term), max(l.Before, l.Term), m.called
	m.clock, m.heard, m.until = l.Clock, m.called, l.Until
	if l.Holds {
		m.until = l.Clock + LeadTTL
	}
	if len(facts) > 0 {
		m.wishes.stale = true
		m.queue.MarkAll(m.now)
	}
	changed := m.leading != l.Holds
	m.leading = l.Holds
	if changed {
		m.wishes.stale = true
		m.forget()
	}
	facts = append(facts, m.share(r.Team)...)
	if changed {
		facts = append(facts, LeadChanged{Leading: m.leading})
	}
	return facts
}

// forget drops what was read of the connectors: others were in charge of them since.
func (m *Machine) forget() {
	clear(m.recent)
	m.queue.MarkAll(m.now)
}

// leadLost tells if the record of the lead, or the clock, shows that the store lost data.
func (m *Machine) leadLost(r LeadReply) []Action {
	l := r.Lead
	intime := m.leading && m.called.Sub(m.asked) < LeadTTL-renewLead
	known := m.leading && l.Holds || l.Before == m.lead // it is the lease that this supervisor saw before
	switch step := (l.Clock - m.clock) - m.called.Sub(m.heard); {
	case m.lead == 0:
	case l.Before < m.lead, known && l.Until != 0 && l.Until < m.until, intime && r.Team.Fresh:
		m.lost = m.now
		return []Action{m.trouble(KindLoss, "lead", errLost)}
	case m.clock != 0 && l.Clock != 0 && (step > clockStep || step < -clockStep):
		m.lost = m.now
		return []Action{m.trouble(KindLoss, "clock", errStepped)}
	}
	return nil
}

// doubt is what makes the absence of a connector's records mean nothing for a while.
type doubt struct {
	// failed is when its records could not be read last, lost when they were found to be older than before.
	failed, lost time.Time
}

// unread remembers that a connector could not be read, and goes on with the next one.
func (m *Machine) unread(k Kind, err error) []Action {
	t := m.read.desired().Tunnel
	d := m.doubts[t]
	d.failed = m.now
	m.doubts[t] = d
	m.queue.Failed(m.now, t)
	m.read.at++
	return append([]Action{m.trouble(k, t.String(), err)}, m.readNext()...)
}

// hurt is which slots cannot be read. Their holders, whoever they are, write them anew when they report all slots again.
func (m *Machine) hurt(list []lease.Damaged) (out []tunnel.ConnIndex, facts []Action) {
	t := m.read.desired().Tunnel
	for _, d := range list {
		facts = append(facts, m.trouble(KindRecord, t.String()+" "+d.String(), errDamaged))
		if d.Field != "" {
			continue
		}
		out = append(out, d.Index)
		m.regenerate = m.regenerate || !slices.Contains(m.hurts[t], d)
	}
	m.hurts[t] = list
	return out, facts
}

// losses compares the epochs of a connector with those that it had, and reports whether records were lost. A record is never removed, but
// one that cannot be read is not among them.
func (m *Machine) losses(records []lease.Record) bool {
	t := m.read.desired().Tunnel
	seen, lost := m.epochs[t], false
	now := make(map[tunnel.ConnIndex]tunnel.Epoch, len(records))
	for _, r := range records {
		now[r.Slot.Index] = r.Epoch
		m.sawEpoch(t, r.Slot.Index, r.Epoch)
	}
	for index, epoch := range seen {
		if found, there := now[index]; there && found < epoch || !there && !slices.Contains(m.read.damaged, index) {
			lost = true
		}
	}
	m.epochs[t] = now
	return lost
}

// sawEpoch remembers the highest epoch of a slot. The store may lose it.
func (m *Machine) sawEpoch(t tunnel.ID, index tunnel.ConnIndex, epoch tunnel.Epoch) {
	if m.highest[t] == nil {
		m.highest[t] = map[tunnel.ConnIndex]tunnel.Epoch{}
	}
	m.highest[t][index] = max(m.highest[t][index], epoch)
}

// granted remembers the epoch of a grant, so that the next look shows if the store lost it.
func (m *Machine) granted(s tunnel.Slot, epoch tunnel.Epoch) {
	m.sawEpoch(s.Tunnel, s.Index, epoch)
	if epochs := m.epochs[s.Tunnel]; epochs != nil {
		epochs[s.Index] = epoch
	}
}

package keep

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// selection is the transports that a slot may use. The setting of this host, which fits its network, overrides the one of the
// grant, which may come from another worker.
func (m *Machine) selection(demanded tunnel.Protocol) protocol.Selection {
	choice := m.cfg.Protocol
	if choice == protocol.Auto && demanded != "" {
		choice = protocol.Choice(demanded)
	}
	shares, err := protocol.ParseShares(m.pool.ProtocolTXT)
	if err != nil {
		shares = nil // discovery publishes valid texts only
	}
	return protocol.Select(protocol.Criteria{Choice: choice, Token: m.cfg.Token, Shares: shares, AccountHash: m.cfg.AccountHash})
}

// Protocol chooses the transport of an attempt that begins now; first says that it is the first one of the tunnel.
func (m *Machine) Protocol(now time.Time, slot tunnel.Slot, demanded tunnel.Protocol) (t protocol.Try, first bool) {
	first = !m.chose
	m.chose = true
	return m.deps.Choices.Next(now, slot, m.selection(demanded)), first
}

// prefers returns the transport that a connected slot would use for a new attempt; it is empty when that is the present one.
func (m *Machine) prefers(now time.Time, index tunnel.ConnIndex, v hold.View) tunnel.Protocol {
	if v.Status.State != lease.StateConnected {
		return ""
	}
	if p := m.deps.Choices.Prefers(now, m.slot(index), m.selection(v.Grant.Protocol)); p != v.Status.Protocol {
		return p
	}
	return ""
}

// Dialed records the result of a dial in the health of the address.
func (m *Machine) Dialed(now time.Time, edge tunnel.EdgeAddr, reason tunnel.Reason) {
	m.health = m.health.After(edge.Addr, reason, now)
}

// Observe records what an attempt, or later the end of its connection, says about its transport, and returns the actions to run. fell
// says that the slot falls back to another transport.
func (m *Machine) Observe(now time.Time, slot tunnel.Slot, a hold.Attempt, e protocol.Event) (fell bool, actions []Action) {
	m.out = nil
	change, err := m.deps.Choices.Report(now, slot, a.Protocol, e, a.Edge.Addr)
	m.turned(slot, a.Edge, change, err)
	actions, m.out = m.out, nil
	return err == nil && change.Turn == protocol.FellBack, actions
}

// turned applies the effects of a change of a slot's transport.
func (m *Machine) turned(slot tunnel.Slot, edge tunnel.EdgeAddr, change protocol.Change, err error) {
	if err != nil {
		m.emit(Rejected{Slot: slot, Edge: edge, Err: err})
		return
	}
	switch change.Turn {
	case protocol.Unchanged:
		return
	case protocol.FellBack:
		m.health = nil // the failures were the protocol's, not the addresses'
	case protocol.Returned:
		m.emit(WakeAll{}) // all keepers report what their slots prefer now
	case protocol.ProbeFailed:
	}
	m.emit(Turned{Slot: slot, Edge: edge, Change: change})
}

// probe starts at most one probe of the preferred transport while a slot is connected over the fallback.
func (m *Machine) probe(now time.Time) {
	if m.leaving {
		return
	}
	for _, index := range m.indices() {
		v, ok := m.newest(index)
		if !ok || v.Status.State != lease.StateConnected {
			continue
		}
		if p, due := m.deps.Choices.ProbeDue(now, m.slot(index)); due {
			m.emit(Probe{Slot: m.slot(index), Edge: v.Edge, Protocol: p})
			return
		}
	}
}

func (m *Machine) probed(now time.Time, e Probed) {
	event := protocol.Connected
	if e.Err != nil {
		event = protocol.EventOf(tunnel.ReasonOf(e.Err))
		if event == protocol.Lost {
			event = protocol.DialFailed // a failure on this host does not show that the transport works
		}
	}
	change, err := m.deps.Choices.Probed(now, e.Slot, event)
	m.turned(e.Slot, e.Edge, change, err)
}

// Rotate chooses another address from the last pool that was read, avoiding those of sibling slots; the zero address when there is
// none, and the old one is tried again.
func (m *Machine) Rotate(now time.Time, slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr {
	used := map[tunnel.ConnIndex]tunnel.EdgeAddr{}
	for index, r := range m.records {
		used[index] = r.InUse()
	}
	for index, hs := range m.holders {
		for _, h := range hs {
			if v := m.view(h.id); !v.Edge.IsZero() {
				used[index] = v.Edge
			}
		}
	}
	table := edgepool.Table{Pool: m.pool, Family: m.cfg.Family, Used: used, Health: m.health}
	edge, err := edgepool.Allocate(now, table, edgepool.Request{Index: slot.Index, Avoid: avoid}, m.deps.Pick)
	if err != nil {
		return tunnel.EdgeAddr{}
	}
	return edge
}

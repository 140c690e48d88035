package keep

import (
	"errors"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Reasons of not being ready.
var (
	errNoConnector = errors.New("waiting for the store: the connector id is not known yet")
	errNoSlot      = errors.New("no slot is granted to this worker")
)

// Held is one holder of a slot.
type Held struct {
	Holder HolderID
	Slot   tunnel.Slot
}

// Connector is the connector id, zero while it is not known.
func (m *Machine) Connector() tunnel.ConnectorID { return m.connector }

// Pool is the edge pool that was read last.
func (m *Machine) Pool() edgepool.Pool { return m.pool }

// Holders lists the holders by index; of one index the newest is last.
func (m *Machine) Holders() []Held {
	var list []Held
	for _, index := range m.indices() {
		for _, h := range m.holders[index] {
			list = append(list, Held{Holder: h.id, Slot: m.slot(index)})
		}
	}
	return list
}

// Count counts the holders that still run or whose lease has not been released.
func (m *Machine) Count() int { return len(m.Holders()) + len(m.releasing) }

// Idle reports whether nothing depends on the next renewal of the worker's lease.
func (m *Machine) Idle() bool { return m.Count() == 0 && !m.unmarked }

// Others counts the registered connections of the keeper, without the one of slot.
func (m *Machine) Others(slot tunnel.Slot) int {
	counted := map[tunnel.ConnIndex]bool{}
	for _, h := range m.Holders() {
		if h.Slot.Index != slot.Index && m.view(h.Holder).Status.State == lease.StateConnected {
			counted[h.Slot.Index] = true
		}
	}
	return len(counted)
}

// Asleep reports whether the keeper is lazy and holds no slot.
func (m *Machine) Asleep() bool { return m.cfg.Lazy && m.Count() == 0 }

// Ready returns why the tunnel is not served, or nil. A worker that holds no slot is ready while another one serves, which a lazy keeper
// does not look for.
func (m *Machine) Ready() error {
	if m.Asleep() && m.stage != stageNew {
		return nil
	}
	if m.connector.IsZero() {
		return m.unready(errNoConnector)
	}
	held := m.Holders()
	last := "connecting"
	for _, h := range held {
		status := m.view(h.Holder).Status
		if status.State == lease.StateConnected {
			return nil
		}
		if status.Error != "" {
			last = status.Error
		}
	}
	if len(held) > 0 {
		return m.unready(fmt.Errorf("no connection to the edge: %s", last))
	}
	if m.served() {
		return nil
	}
	return m.unready(errNoSlot)
}

func (m *Machine) unready(err error) error { return fmt.Errorf("tunnel %s: %w", m.cfg.Tunnel, err) }

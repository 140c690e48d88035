package keep

import (
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// remembered is how many commands for one slot are remembered. A command is written once or, by a supervisor that was stopped meanwhile,
// twice.
const remembered = 16

// commands are the operator's commands for one slot that were seen under an epoch, the newest last.
type commands struct {
	epoch tunnel.Epoch
	ids   []string
}

// followReconnect makes a connection again when an operator asks for it, once for each command. A holder that has no connection makes one
// anyway.
func (m *Machine) followReconnect(r lease.Record) {
	index := r.Slot.Index
	seen := m.commands[index]
	if seen.epoch != r.Epoch {
		seen = commands{epoch: r.Epoch}
	}
	if r.Reconnect == "" || !r.Live || slices.Contains(seen.ids, r.Reconnect) {
		return
	}
	seen.ids = append(seen.ids, r.Reconnect)
	if len(seen.ids) > remembered {
		seen.ids = seen.ids[1:]
	}
	m.commands[index] = seen
	hs := m.holders[index]
	if len(hs) == 0 {
		return
	}
	if h := hs[len(hs)-1]; h.offered == r.Epoch && m.view(h.id).Phase == lease.PhaseConnected {
		m.emit(Send{Holder: h.id, Event: lease.Event{Kind: lease.EventReconnect}})
	}
}

package keep

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// CallConnector reads the tunnel's connector id from the store, after writing Candidate if there is none and Candidate is not zero. Its
// reply is Identified.
type CallConnector struct {
	Tunnel    tunnel.ID
	Candidate tunnel.ConnectorID
}

// CallWorkers lists the workers. Its reply is Listed.
type CallWorkers struct{}

// CallPool reads an edge pool. Its reply is PoolRead.
type CallPool struct{ Name string }

// CallRenew renews the leases of the reported slots and reads all slots of the connector. Its reply is Renewed.
type CallRenew struct {
	Tunnel    tunnel.ID
	Connector tunnel.ConnectorID
	Worker    tunnel.WorkerID
	// Instance is Config.Instance.
	Instance string
	Reports  []lease.Report
}

// CallRelease frees the slot of a holder that ended. Its reply is Released.
type CallRelease struct {
	Holder HolderID
	Slot   tunnel.Slot
	Worker tunnel.WorkerID
	Epoch  tunnel.Epoch
}

// Mark tells the supervisors that something of the tunnel changed that they have to look at. Its reply is Marked.
type Mark struct{ Tunnel tunnel.ID }

// Hint wakes the processes that watch a topic. It has no result.
type Hint struct{ Topic string }

// Observe records the result of a call: whether the store is available.
type Observe struct{ Err error }

// Start makes a holder of the slot. Its end is HolderEnded.
type Start struct {
	Holder HolderID
	Slot   tunnel.Slot
}

// Send hands an event to a holder.
type Send struct {
	Holder HolderID
	Event  lease.Event
}

// Rename tells a holder that the connector has another id now. Its session stays; attempts to come use the new id.
type Rename struct {
	Holder    HolderID
	Connector tunnel.ConnectorID
}

// Wake asks for Timer after After. It replaces an earlier Wake.
type Wake struct{ After time.Duration }

// WakeAll wakes all keepers of the worker.
type WakeAll struct{}

// Gone says that a holder has ended and that its lease was released, as far as the store could be reached.
type Gone struct{ Holder HolderID }

// Probe dials the address over the protocol and closes the session. Its result is Probed.
type Probe struct {
	Slot     tunnel.Slot
	Edge     tunnel.EdgeAddr
	Protocol tunnel.Protocol
}

// Named says that the connector id is known, or that it is another one than Former now.
type Named struct{ Connector, Former tunnel.ConnectorID }

// Damaged says that a stored slot cannot be read; it comes once as long as that is so.
type Damaged struct{ lease.Damaged }

// NotRenewed says that the available store refused a renewal.
type NotRenewed struct{ Err error }

// NotReleased says that the available store refused a release. The lease expires by itself.
type NotReleased struct{ Err error }

// Turned says that a slot's transport changed, or that a probe failed.
type Turned struct {
	Slot   tunnel.Slot
	Edge   tunnel.EdgeAddr
	Change protocol.Change
}

// Rejected says that the protocol machine of a slot refused an event.
type Rejected struct {
	Slot tunnel.Slot
	Edge tunnel.EdgeAddr
	Err  error
}

func (CallConnector) action() {}
func (CallWorkers) action()   {}
func (CallPool) action()      {}
func (CallRenew) action()     {}
func (CallRelease) action()   {}
func (Mark) action()          {}
func (Hint) action()          {}
func (Observe) action()       {}
func (Start) action()         {}
func (Send) action()          {}
func (Rename) action()        {}
func (Wake) action()          {}
func (WakeAll) action()       {}
func (Gone) action()          {}
func (Probe) action()         {}
func (Named) action()         {}
func (Damaged) action()       {}
func (NotRenewed) action()    {}
func (NotReleased) action()   {}
func (Turned) action()        {}
func (Rejected) action()      {}

package keep

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// HolderID names one holder of the keeper. No two holders have the same.
type HolderID uint64

// Event is something that happened to a keeper. The set is closed.
type Event interface{ event() }

// Started begins.
type Started struct{}

// Timer says that the time of the last Wake has come.
type Timer struct{}

// Woken asks for a renewal soon: a hint arrived, or the status of a holder changed.
type Woken struct{}

// Identified is the reply to CallConnector.
type Identified struct {
	Connector tunnel.ConnectorID
	Err       error
}

// Listed is the reply to CallWorkers.
type Listed struct {
	Workers []fleet.Worker
	Err     error
}

// PoolRead is the reply to CallPool.
type PoolRead struct {
	Pool edgepool.Pool
	Err  error
}

// Renewed is the reply to CallRenew.
type Renewed struct {
	Table lease.Table
	Err   error
}

// Looked is what the last renewal of the worker's lease showed.
type Looked struct {
	// Sent is when it was sent; a failure has an Err.
	Sent time.Time
	Err  error
	// Lost says that the store lost data: all slots have to be reported again. News says that slots of this tunnel changed.
	Lost, News bool
}

// Marked is the reply to Mark.
type Marked struct{ Err error }

// HolderEnded says that a holder has ended, by itself or because the process ends at once (Killed).
type HolderEnded struct {
	Holder HolderID
	Killed bool
}

// Released is the reply to CallRelease.
type Released struct {
	Holder HolderID
	Err    error
}

// Probed is the result of Probe.
type Probed struct {
	Slot tunnel.Slot
	Edge tunnel.EdgeAddr
	Err  error
}

// RefuseGrants makes the keeper ignore new grants. The holders stay, so that other workers can take their slots over.
type RefuseGrants struct{}

// Drain makes the keeper ignore new grants, and all holders unregister and finish their requests.
type Drain struct{}

func (Started) event()      {}
func (Timer) event()        {}
func (Woken) event()        {}
func (Identified) event()   {}
func (Listed) event()       {}
func (PoolRead) event()     {}
func (Renewed) event()      {}
func (Looked) event()       {}
func (Marked) event()       {}
func (HolderEnded) event()  {}
func (Released) event()     {}
func (Probed) event()       {}
func (RefuseGrants) event() {}
func (Drain) event()        {}

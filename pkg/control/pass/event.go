package pass

import (
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Event is something that happened. The set is closed.
type Event interface{ event() }

// Started begins the first pass.
type Started struct{}

// Ticked says that it is time for the next pass.
type Ticked struct{}

// Hinted says that somebody changed what the supervisor reads; Pools says that it was an edge pool.
type Hinted struct{ Pools bool }

// Rested ends a Rest.
type Rested struct{}

// Stopped asks the machine to end, whatever it does. A call that is outstanding is given up, and its reply ignored.
type Stopped struct{}

// LeadReply is the reply of TakeLead: whether this supervisor leads, under which term, and who leads with it.
type LeadReply struct {
	Lead lease.Lead
	Team lease.Team
	Err  error
}

// WorkersReply is the reply of ListWorkers.
type WorkersReply struct {
	fleet.Listing
	Err error
}

// DesiredReply is the reply of ReadDesired. Same says that the version is the known one; then State is empty.
type DesiredReply struct {
	Same  bool
	State desired.State
	Err   error
}

// PoolReply is the reply of ReadPool; tunnel.ErrNotFound if there is none.
type PoolReply struct {
	Pool edgepool.Pool
	Err  error
}

// ConnectorReply is the reply of ReadConnector and of EnsureConnector: the id in force.
type ConnectorReply struct {
	ID  tunnel.ConnectorID
	Err error
}

// SlotsReply is the reply of ReadSlots.
type SlotsReply struct {
	Records []lease.Record
	// Damaged are slots whose records cannot be read.
	Damaged []lease.Damaged
	Err     error
}

// ProvedReply is the reply of ReadProved.
type ProvedReply struct {
	Proved bool
	Err    error
}

// GrantReply is the reply of Grant: the grant with the epoch and the wait that the store gave.
type GrantReply struct {
	Granted lease.Grant
	Err     error
}

// ReleaseReply is the reply of Release.
type ReleaseReply struct{ Err error }

// ReconnectReply is the reply of AskReconnect.
type ReconnectReply struct{ Err error }

// AnswerReply is the reply of AnswerCommand.
type AnswerReply struct{ Err error }

// RestoreReply is the reply of RestoreDesired and RestoreDrained; tunnel.ErrConflict if the store has a newer one.
type RestoreReply struct{ Err error }

// NotifyReply is the reply of Notify.
type NotifyReply struct{ Err error }

// GenerationReply is the reply of BeginGeneration.
type GenerationReply struct{ Err error }

// HintReply is the reply of Hint.
type HintReply struct{ Err error }

// ResignReply is the reply of ResignLead.
type ResignReply struct{ Err error }

func (Started) event()         {}
func (Ticked) event()          {}
func (Hinted) event()          {}
func (Rested) event()          {}
func (Stopped) event()         {}
func (LeadReply) event()       {}
func (WorkersReply) event()    {}
func (PoolReply) event()       {}
func (ConnectorReply) event()  {}
func (SlotsReply) event()      {}
func (ProvedReply) event()     {}
func (GrantReply) event()      {}
func (ReleaseReply) event()    {}
func (DesiredReply) event()    {}
func (ReconnectReply) event()  {}
func (AnswerReply) event()     {}
func (RestoreReply) event()    {}
func (NotifyReply) event()     {}
func (GenerationReply) event() {}
func (HintReply) event()       {}
func (ResignReply) event()     {}

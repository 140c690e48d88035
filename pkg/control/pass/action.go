package pass

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Action is something that the runner of a Machine does: a call of the store, a wait, or a fact to log and to count. The set is closed.
type Action interface{ action() }

// TakeLead takes or renews this supervisor's share of the lead. Seen is the highest term that was seen. Join says that it may lead beside
// others; without it, only if there is no other. Its reply is LeadReply.
type TakeLead struct {
	Role, Holder string
	Seen         lease.Term
	TTL          time.Duration
	Join         bool
}

// ListWorkers lists the registrations of workers, and the tunnels that were marked since the version Marks. Its reply is WorkersReply.
type ListWorkers struct{ Marks uint64 }

// ReadDesired reads what operators desire, unless the version is known. Its reply is DesiredReply.
type ReadDesired struct{ Known uint64 }

// ReadPool reads an edge pool. Its reply is PoolReply.
type ReadPool struct{ Name string }

// ReadConnector reads the tunnel's connector id. Its reply is ConnectorReply; tunnel.ErrNotFound if there is none.
type ReadConnector struct{ Tunnel tunnel.ID }

// EnsureConnector writes the candidate as the tunnel's connector id unless there is one, and reads it back. Its reply is ConnectorReply.
type EnsureConnector struct {
	Tunnel    tunnel.ID
	Candidate tunnel.ConnectorID
}

// ReadSlots reads the slots of a connector, and raises its fence to the term. Its reply is SlotsReply.
type ReadSlots struct {
	Term      lease.Term
	Tunnel    tunnel.ID
	Connector tunnel.ConnectorID
}

// ReadProved reads whether the connector's first-connection gate is open. Its reply is ProvedReply.
type ReadProved struct {
	Tunnel    tunnel.ID
	Connector tunnel.ConnectorID
}

// Grant grants a slot. Its reply is GrantReply.
type Grant struct {
	plan.Grant
	// Term is the lead that the decision was made under.
	Term lease.Term
	// Ended are slots of the connector whose workers' leases have ended.
	Ended []lease.Ended
	TTL   time.Duration
}

// Release frees a slot. Its reply is ReleaseReply.
type Release struct {
	plan.Release
	// Term is the lead that the decision was made under.
	Term lease.Term
}

// AskReconnect asks the holder of a slot to make its connection again. Its reply is ReconnectReply.
type AskReconnect struct {
	plan.Reconnect
	// Term is the lead that the decision was made under.
	Term lease.Term
}

// AnswerCommand writes the result of an operator's command, unless it has one. Its reply is AnswerReply.
type AnswerCommand struct{ plan.Answer }

// RestoreDesired gives the document of a tunnel back to a store that lost it. Its reply is RestoreReply.
type RestoreDesired struct {
	Tunnel   tunnel.ID
	Document desired.Document
}

// RestoreDrained gives the mark of a worker back to a store that lost it. Its reply is RestoreReply.
type RestoreDrained struct {
	Worker tunnel.WorkerID
	Mark   desired.Mark
}

// Notify tells a worker that slots of tunnels have changed. Its reply is NotifyReply.
type Notify struct {
	Worker  tunnel.WorkerID
	Tunnels []tunnel.ID
}

// BeginGeneration makes all workers report their slots again. Its reply is GenerationReply.
type BeginGeneration struct{}

// Hint wakes the watchers of a topic. Its reply is HintReply.
type Hint struct{ Topic string }

// ResignLead gives the share of the lead up. Its reply is ResignReply.
type ResignLead struct{ Role, Holder string }

// Rest waits; its end is the event Rested.
type Rest struct{ For time.Duration }

// Done ends the run: the machine stopped, and does nothing more.
type Done struct{}

// LeadChanged says whether this supervisor plans from now on.
type LeadChanged struct{ Leading bool }

// SharesChanged says who plans for which shards from now on: of each shard the name of its supervisor, empty if nobody is known.
type SharesChanged struct {
	Owners [shard.Count]string
	// Own counts this supervisor's shards, and Members the supervisors.
	Own, Members int
}

// Observed is the world that the pass has read. It is never changed afterwards.
type Observed struct{ World plan.World }

// SlotGranted says that the store accepted a grant: with the epoch and the wait that it gave.
type SlotGranted struct {
	plan.Grant
	Granted lease.Grant
}

// SlotReleased says that a slot was freed.
type SlotReleased struct{ plan.Release }

// CommandAnswered says what became of an operator's command.
type CommandAnswered struct{ plan.Answer }

// PlanOutdated says that the store refused a write because the world had changed since it was read.
type PlanOutdated struct{ Err error }

// Short says for the first time that a tunnel gets fewer connections than desired, or that the shortage has changed.
type Short struct{ plan.Shortage }

// StoreUp says that a pass went through after the last one failed; Again is false for the first pass of all. Quiet says that the change
// was told often enough lately.
type StoreUp struct{ Again, Quiet bool }

// StoreDown says that the store does not respond, or for another reason than the last time, or again when an outage that was
// Quiet lasts. Problem is what Machine.Problem returns now.
type StoreDown struct {
	Err, Problem error
	Quiet        bool
}

// Trouble is an error that concerns one thing only: the pass goes on with everything else.
type Trouble struct {
	// Kind is what failed, such as KindPool, and Subject which one.
	Kind    Kind
	Subject string
	Err     error
	// First says that it was not so within the last minute.
	First bool
}

// LeadNotResigned says that the lead could not be given up at the end; it expires by itself.
type LeadNotResigned struct{ Err error }

func (TakeLead) action()        {}
func (ListWorkers) action()     {}
func (ReadPool) action()        {}
func (EnsureConnector) action() {}
func (ReadConnector) action()   {}
func (ReadSlots) action()       {}
func (ReadProved) action()      {}
func (Grant) action()           {}
func (Release) action()         {}
func (ReadDesired) action()     {}
func (AskReconnect) action()    {}
func (AnswerCommand) action()   {}
func (RestoreDesired) action()  {}
func (RestoreDrained) action()  {}
func (CommandAnswered) action() {}
func (Notify) action()          {}
func (BeginGeneration) action() {}
func (Hint) action()            {}
func (ResignLead) action()      {}
func (Rest) action()            {}
func (Done) action()            {}
func (LeadChanged) action()     {}
func (SharesChanged) action()   {}
func (Observed) action()        {}
func (SlotGranted) action()     {}
func (SlotReleased) action()    {}
func (PlanOutdated) action()    {}
func (Short) action()           {}
func (StoreUp) action()         {}
func (StoreDown) action()       {}
func (Trouble) action()         {}
func (LeadNotResigned) action() {}

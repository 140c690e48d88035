package retain

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

// Action is something that the runner of a Machine does: a call, a wait, or a fact to log and to count. The set is closed.
type Action interface{ action() }

// TakeLead takes or renews the leader lease. Its reply is LeadReply.
type TakeLead struct {
	Role, Holder string
	TTL          time.Duration
}

// Lookup looks the edge up, and gives up after a time. Its reply is LookupReply.
type Lookup struct{ Within time.Duration }

// ReadPool reads the published pool. Its reply is PoolReply.
type ReadPool struct{ Name string }

// Publish writes a pool under a new version. Its reply is PublishReply.
type Publish struct {
	Name string
	Pool edgepool.Pool
}

// Hint wakes the watchers of a topic. Its reply is HintReply.
type Hint struct{ Topic string }

// ReadLeader reads who has the lead. Its reply is LeaderReply.
type ReadLeader struct{ Role string }

// ResignLead gives the leader lease up. Its reply is ResignReply.
type ResignLead struct{ Role, Holder string }

// Wait waits for the next round; its end is the event Due.
type Wait struct{ For time.Duration }

// Done ends the run: the machine stopped, and does nothing more.
type Done struct{}

// LeadChanged says whether this replica publishes from now on.
type LeadChanged struct{ Leading bool }

// Published says that the pool changed and is published.
type Published struct {
	Version uint64
	Pool    edgepool.Pool
}

// LookedUp is the result of a lookup that this replica made and published, or failed to. News says that the last one ended otherwise.
type LookedUp struct {
	At   time.Time
	Err  error
	News bool
}

// Observed is the shared state as the replica read it: the leader, and the pool that is published, without a version if there is none.
type Observed struct {
	Leader string
	Pool   edgepool.Pool
	// Since is when the pool's version was first seen here.
	Since time.Time
}

// RoundEnded is the result of a round: an error says that the store is unavailable.
type RoundEnded struct{ Err error }

// StoreUp says that a round went through after the last one failed; Again is false for the first round of all. Quiet says that
// the outage was not told, since there were too many of them.
type StoreUp struct{ Again, Quiet bool }

// StoreDown says that a round failed after the last one went through, or again when an outage that was Quiet lasts.
type StoreDown struct {
	Err   error
	Quiet bool
}

// LeadNotResigned says that the lead could not be given up at the end; it expires by itself.
type LeadNotResigned struct{ Err error }

func (TakeLead) action()        {}
func (Lookup) action()          {}
func (ReadPool) action()        {}
func (Publish) action()         {}
func (Hint) action()            {}
func (ReadLeader) action()      {}
func (ResignLead) action()      {}
func (Wait) action()            {}
func (Done) action()            {}
func (LeadChanged) action()     {}
func (Published) action()       {}
func (LookedUp) action()        {}
func (Observed) action()        {}
func (RoundEnded) action()      {}
func (StoreUp) action()         {}
func (StoreDown) action()       {}
func (LeadNotResigned) action() {}

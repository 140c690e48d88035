package retain

import "github.com/culvert-tunnel/culvert/pkg/edgepool"

// Event is something that happened. The set is closed.
type Event interface{ event() }

// Due ends a Wait; the first one begins the first round. A Wait replaces the one before it: a Due that comes earlier is ignored.
type Due struct{}

// Asked says that a hint on LookTopic came: somebody finds every address of the pool failing. It may come at any time.
type Asked struct{}

// Stopped asks the machine to end, whatever it does. A call that is outstanding is given up, and its reply ignored.
type Stopped struct{}

// LeadReply is the reply of TakeLead: whether this replica has the lead.
type LeadReply struct {
	Leading bool
	Err     error
}

// LookupReply is the reply of Lookup: a pool without a version.
type LookupReply struct {
	Pool edgepool.Pool
	Err  error
	// Stale is why the lookup failed, where Pool is one of a former run: it is published if there is none, and the lookup is repeated soon.
	Stale error
}

// PoolReply is the reply of ReadPool; tunnel.ErrNotFound if there is none.
type PoolReply struct {
	Pool edgepool.Pool
	Err  error
}

// PublishReply is the reply of Publish; tunnel.ErrConflict if the pool is worse than the published one.
type PublishReply struct {
	Version uint64
	Err     error
}

// HintReply is the reply of Hint.
type HintReply struct{ Err error }

// LeaderReply is the reply of ReadLeader: the holder of the lead, or an empty string.
type LeaderReply struct {
	Leader string
	Err    error
}

// ResignReply is the reply of ResignLead.
type ResignReply struct{ Err error }

func (Due) event()          {}
func (Asked) event()        {}
func (Stopped) event()      {}
func (LeadReply) event()    {}
func (LookupReply) event()  {}
func (PoolReply) event()    {}
func (PublishReply) event() {}
func (HintReply) event()    {}
func (LeaderReply) event()  {}
func (ResignReply) event()  {}

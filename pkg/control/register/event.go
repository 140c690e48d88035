package register

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Event is something that happened to the worker. The set is closed.
type Event interface{ event() }

// Started begins.
type Started struct{}

// Timer says that the time of the last Wake has come.
type Timer struct{}

// Changed says that the record is another one now, so that it has to be written soon.
type Changed struct{}

// Put is the reply to CallPut.
type Put struct{ Err error }

// Renewed is the reply to CallRenew.
type Renewed struct {
	Reply fleet.Renewed
	Err   error
}

// Inspected is the reply to CallInspect: the process has ended for certain.
type Inspected struct {
	Instance string
	Ended    bool
}

// Hinted says that the inbox of the worker may have changed.
type Hinted struct{}

// Leave begins the drain.
type Leave struct{}

// Listed is the reply to CallWorkers.
type Listed struct {
	Workers []fleet.Worker
	Err     error
}

// HolderGone says that a holder has ended.
type HolderGone struct{}

// Removed is the reply to CallRemove.
type Removed struct{ Err error }

func (Started) event()    {}
func (Timer) event()      {}
func (Changed) event()    {}
func (Put) event()        {}
func (Renewed) event()    {}
func (Inspected) event()  {}
func (Hinted) event()     {}
func (Leave) event()      {}
func (Listed) event()     {}
func (HolderGone) event() {}
func (Removed) event()    {}

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// CallPut writes the record of a worker that keeps no lease as a whole. Its reply is Put.
type CallPut struct{ Worker fleet.Worker }

// CallRenew renews the lease of the worker. Its reply is Renewed.
type CallRenew struct{ fleet.Renewal }

// CallInspect finds out whether a process that has this worker's id has ended for certain. Its reply is Inspected.
type CallInspect struct{ fleet.Worker }

// Acquired says that the worker has its lease for the first time: its keepers may start.
type Acquired struct{}

// Refused says that another process with the same id lives: this one has to end. Nothing follows.
type Refused struct{ Err *fleet.TakenError }

// Displaced says that another process has got the id while this one could not renew its lease. It comes once until the lease is renewed.
type Displaced struct{ Err *fleet.TakenError }

// Looked tells all keepers what a renewal showed.
type Looked struct {
	// Sent is when it was sent.
	Sent time.Time
	Err  error
	// Lost says that the store lost data: all slots have to be reported again.
	Lost bool
	// Tunnels lists the tunnels of which this worker got or lost slots.
	Tunnels []tunnel.ID
}

// CallWorkers lists the registered workers. Its reply is Listed.
type CallWorkers struct{}

// CallRemove removes the record of the process. Its reply is Removed.
type CallRemove struct {
	ID       tunnel.WorkerID
	Instance string
}

// Observe records the result of a call: whether the store is available.
type Observe struct{ Err error }

// Hint wakes the processes that watch a topic. It has no result.
type Hint struct{ Topic string }

// RefuseGrants makes all keepers ignore new grants.
type RefuseGrants struct{}

// Drain makes all holders unregister and finish their requests.
type Drain struct{}

// Wake asks for Timer after After. It replaces an earlier Wake.
type Wake struct{ After time.Duration }

// NotRemoved says that the record could not be removed. It expires by itself.
type NotRemoved struct{ Err error }

// Left says that the worker may end.
type Left struct{}

func (CallPut) action()      {}
func (CallRenew) action()    {}
func (CallInspect) action()  {}
func (Acquired) action()     {}
func (Refused) action()      {}
func (Displaced) action()    {}
func (Looked) action()       {}
func (CallWorkers) action()  {}
func (CallRemove) action()   {}
func (Observe) action()      {}
func (Hint) action()         {}
func (RefuseGrants) action() {}
func (Drain) action()        {}
func (Wake) action()         {}
func (NotRemoved) action()   {}
func (Left) action()         {}

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
func (Leave) event()      {}
func (Listed) event()     {}
func (HolderGone) event() {}
func (Removed) event()    {}

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// CallPut writes the record. Its reply is Put.
type CallPut struct{ Worker fleet.Worker }

// CallWorkers lists the registered workers. Its reply is Listed.
type CallWorkers struct{}

// CallRemove removes the record. Its reply is Removed.
type CallRemove struct{ ID tunnel.WorkerID }

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
func (CallWorkers) action()  {}
func (CallRemove) action()   {}
func (Observe) action()      {}
func (Hint) action()         {}
func (RefuseGrants) action() {}
func (Drain) action()        {}
func (Wake) action()         {}
func (NotRemoved) action()   {}
func (Left) action()         {}

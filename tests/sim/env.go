package sim

import (
	"math/rand/v2"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
)

// Actor is the program of one process.
type Actor interface {
	// Start runs once, when the process starts. All later work happens in callbacks that the actor gives to env.
	Start(env *Env)
	// Stop is the request to end in good order (SIGTERM). The actor calls env.Exit when it is done.
	Stop()
}

// Holding is an actor that holds slots.
type Holding interface {
	// Holders lists the holders of slots, by slot and age.
	Holders() []HolderView
}

// HolderView is one holder of a slot.
type HolderView struct {
	Slot  tunnel.Slot
	Epoch tunnel.Epoch
	Phase lease.Phase
	Edge  tunnel.EdgeAddr
}

// Role says which program a process runs.
type Role uint8

// The roles.
const (
	RoleWorker Role = iota
	RoleSupervisor
	RoleDiscovery
)

// Env is one process: what its actor may do. It belongs to one life of the process; after Exit or a kill nothing happens any more.
type Env struct {
	cluster *Cluster
	process *engine.Process
	net     *rand.Rand // draws what the network does to this process
	role    Role
	number  int // of the life, over all processes
	id      string
	host    string
	actor   Actor
	serves  []tunnel.ID
	watches []*watch
	// stopping says that Stop was called.
	stopping bool
	// planned is what the process said about the grant that it sends next.
	planned *Planned
	// troubled is when a call of this process to the store last failed, or was slow, while not everybody had the same trouble; zero is
	// never.
	troubled time.Time
}

// ID is the configured id. Two processes may have the same one.
func (e *Env) ID() string { return e.id }

// Instance is the unique name of this life of the process.
func (e *Env) Instance() string { return e.process.Name() }

// Host is the machine of the process.
func (e *Env) Host() string { return e.host }

// Now is the process' monotonic clock.
func (e *Env) Now() time.Time { return e.cluster.engine.Now() }

// Rand is the process' own random stream.
func (e *Env) Rand() *rand.Rand { return e.process.Rand() }

// After runs f after d. The label appears in the trace.
func (e *Env) After(d time.Duration, label string, f func()) engine.Timer {
	return e.process.After(max(d, 0), label, f)
}

// Note writes a line into the trace.
func (e *Env) Note(text string) { e.cluster.engine.Note(e.process.Name(), text) }

// Call carries out a request of the store. done gets the decoded result, or an error as that of package redisstore.
func Call[T any](e *Env, r command.Request[T], done func(T, error)) {
	e.Call(r.Op, r.Command, func(reply any, err error) {
		if err != nil {
			var zero T
			done(zero, err)
			return
		}
		done(r.Decode(reply))
	})
}

// Hint wakes the processes that watch the topic; nobody waits for the result.
func (e *Env) Hint(topic string) {
	r := command.Publish(topic, nil)
	e.Call(r.Op, r.Command, func(any, error) {})
}

// Observe receives what the process would log for people at the level of info and above.
func (e *Env) Observe(f Fact) {
	e.Note("fact " + f.Text + " " + f.Subject)
	e.cluster.checker.fact(e, f)
}

// Fact is one thing that a process tells.
type Fact struct {
	// Text is constant, such as "lead changed"; Subject says of what, such as the slot and the worker.
	Text, Subject string
}

// Planned is what a supervisor says about the grant that it is about to send.
type Planned struct {
	Slot   tunnel.Slot
	Worker tunnel.WorkerID
	Edge   tunnel.EdgeAddr
	Cause  string
}

// Plan says why the next grant is made. Call it right before the grant is sent.
func (e *Env) Plan(p Planned) { e.planned = &p }

// Exit ends the process in good order: its sessions are closed.
func (e *Env) Exit() {
	if !e.process.Alive() {
		return
	}
	e.Note("exit")
	e.process.Kill()
	e.cluster.ended(e, true)
}

// up reports whether the process runs now.
func (e *Env) up() bool { return e.process.Alive() && !e.process.Paused() }

// Defect reports something that a correct program never meets, such as a machine that refuses an event.
func (e *Env) Defect(err error) {
	e.Note("defect " + err.Error())
	e.cluster.checker.defect(e, err)
}

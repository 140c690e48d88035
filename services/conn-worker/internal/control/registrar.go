package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/control/register"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/netwatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/former"
)

// callTimeout bounds each hint, so that a store that does not respond holds nothing up.
const callTimeout = time.Second

// Store is where the workers of a deployment are registered.
type Store interface {
	RenewWorker(ctx context.Context, r fleet.Renewal, ttl time.Duration) (fleet.Renewed, error)
	RemoveWorker(ctx context.Context, id tunnel.WorkerID, instance string) error
	Workers(ctx context.Context) ([]fleet.Worker, error)
	// Watch returns a channel that receives after hints on the topics, and after every subscription.
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Holders are the keepers of the worker.
type Holders interface {
	// RefuseGrants makes all keepers ignore new grants.
	RefuseGrants(ctx context.Context)
	// Drain makes all holders unregister and finish their requests.
	Drain(ctx context.Context)
	// Held counts the holders that still run or whose lease has not been released.
	Held() int
	// Looked tells the keepers what a renewal of the worker's lease showed, and which tunnels' slots changed.
	Looked(l keep.Looked, changed []tunnel.ID)
}

// Registration is what a worker registers.
type Registration struct {
	ID            tunnel.WorkerID
	Host, Version string
	// Instance differs between two processes with one id; PID and Started say which process it is.
	Instance string
	PID      int
	Started  time.Time
	// Tunnels are those that the worker can serve, as it knows them now.
	Tunnels func() []fleet.TunnelRef
	// Capacity is the number of slots that the worker can hold now.
	Capacity func() int
	// Pool is the edge pool that was read last; its version is 0 before.
	Pool func() edgepool.Pool
	// GracePeriod bounds the drain.
	GracePeriod time.Duration
}

// self is this process: what is registered of it, and what it finds out about its host.
type self struct {
	Registration
	process  fleet.Process
	families families
}

func (s *self) record() fleet.Worker {
	return fleet.Worker{
		ID: s.ID, Instance: s.Instance, PID: s.PID, Started: s.Started, Process: s.process, Host: s.Host, Version: s.Version,
		Tunnels: s.Tunnels(), Capacity: s.Capacity(), Families: s.families.of(s.Pool()), Marks: true,
	}
}

// ended reports whether a process that has this worker's id has ended for certain.
func (s *self) ended(w fleet.Worker) bool {
	return w.Host == s.Host && former.Ended(s.process, w.Process)
}

// Registrar keeps the worker registered, and leads it through its drain. It runs the machine of package register.
type Registrar struct {
	store   Store
	plane   *Plane
	log     *slog.Logger
	holders Holders
	id      tunnel.WorkerID
	self    *self
	notify  chan struct{}
	// acquired is closed when the worker has its lease for the first time.
	acquired chan struct{}

	// The loop of Run alone touches these.
	machine *register.Machine
	timer   *time.Timer
	left    bool
	refused error
	calls   sync.WaitGroup

	mu      sync.Mutex
	mailbox []register.Event // guarded by mu
}

// NewRegistrar makes a registrar; Run starts it.
func NewRegistrar(store Store, plane *Plane, log *slog.Logger, worker Registration, holders Holders) *Registrar {
	own := &self{Registration: worker, process: former.Self(), families: families{route: netwatch.HasRoute}}
	return &Registrar{
		store: store, plane: plane, log: log, holders: holders, id: worker.ID, self: own, notify: make(chan struct{}, 1),
		acquired: make(chan struct{}),
		machine: register.NewMachine(worker.ID, worker.GracePeriod, register.Deps{
			Record: own.record, Held: holders.Held, StoreUp: plane.Responds,
		}),
	}
}

// Acquired is closed when the worker has its lease for the first time. Until then nothing else of it may run.
func (r *Registrar) Acquired() <-chan struct{} { return r.acquired }

// Run keeps the lease of the worker until ctx ends, or until the drain that Leave began is over. A fleet.TakenError says that another
// process with the same id lives.
func (r *Registrar) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.calls.Wait()
	defer cancel()
	r.timer = time.NewTimer(time.Hour)
	defer r.timer.Stop()
	wake := r.store.Watch(ctx, lease.GrantsOf(r.id), lease.TopicReports)
	r.step(ctx, register.Started{})
	for !r.left {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
			r.step(ctx, register.Hinted{})
		case <-r.notify:
			for _, e := range r.take() {
				r.step(ctx, e)
			}
		case <-r.timer.C:
			r.step(ctx, register.Timer{})
		}
	}
	return r.refused
}

// Update writes the registration soon and wakes the supervisors.
func (r *Registrar) Update() { r.post(register.Changed{}) }

// Leave begins the drain. Run returns when it is over.
func (r *Registrar) Leave() { r.post(register.Leave{}) }

// HolderGone says that a holder has ended.
func (r *Registrar) HolderGone() { r.post(register.HolderGone{}) }

func (r *Registrar) post(e register.Event) {
	r.mu.Lock()
	r.mailbox = append(r.mailbox, e)
	r.mu.Unlock()
	select {
	case r.notify <- struct{}{}:
	default:
	}
}

func (r *Registrar) take() []register.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.mailbox
	r.mailbox = nil
	return events
}

func (r *Registrar) step(ctx context.Context, e register.Event) {
	for _, a := range r.machine.Step(time.Now(), e) {
		r.do(ctx, a)
	}
}

// do executes one action. Calls run beside the loop, which has time-outs of its own.
func (r *Registrar) do(ctx context.Context, a register.Action) {
	switch a := a.(type) {
	case register.CallRenew:
		r.calls.Go(func() {
			reply, err := r.store.RenewWorker(ctx, a.Renewal, lease.WorkerTTL)
			r.post(register.Renewed{Reply: reply, Err: err})
		})
	case register.CallInspect:
		r.post(register.Inspected{Instance: a.Instance, Ended: r.self.ended(a.Worker)})
	case register.CallWorkers:
		r.calls.Go(func() {
			workers, err := r.store.Workers(ctx)
			r.post(register.Listed{Workers: workers, Err: err})
		})
	case register.CallRemove:
		r.calls.Go(func() { r.post(register.Removed{Err: r.store.RemoveWorker(ctx, a.ID, a.Instance)}) })
	case register.Observe:
		r.plane.Observe(ctx, a.Err)
	case register.Hint:
		r.hint(ctx, a.Topic)
	case register.Acquired:
		close(r.acquired)
	case register.Looked:
		r.holders.Looked(keep.Looked{Sent: a.Sent, Err: a.Err, Lost: a.Lost}, a.Tunnels)
	case register.Refused:
		r.left, r.refused = true, a.Err
	case register.Displaced:
		r.log.ErrorContext(ctx, "another process has the id of this worker, connections stay until it has taken them over",
			slog.Any(logkey.Err, a.Err))
	case register.RefuseGrants:
		r.holders.RefuseGrants(ctx)
	case register.Drain:
		r.holders.Drain(ctx)
	case register.Wake:
		r.timer.Reset(a.After)
	case register.NotRemoved:
		r.log.WarnContext(ctx, "registration not removed, it expires by itself", slog.Any(logkey.Err, a.Err))
	case register.Left:
		r.left = true
	}
}

func (r *Registrar) hint(ctx context.Context, topic string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r.plane.Hint(ctx, topic)
}

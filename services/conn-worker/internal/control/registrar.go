package control

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// callTimeout bounds each call of the drain to the store.
const callTimeout = time.Second

// Store is where the workers of a deployment are registered.
type Store interface {
	PutWorker(ctx context.Context, w fleet.Worker, ttl time.Duration) error
	RemoveWorker(ctx context.Context, id tunnel.WorkerID) error
	Workers(ctx context.Context) ([]fleet.Worker, error)
}

// Registration is what a worker registers.
type Registration struct {
	ID            tunnel.WorkerID
	Host, Version string
	Tunnels       []fleet.TunnelRef
	// Capacity is the number of slots that the worker can hold now.
	Capacity func() int
	// Draining reports whether the worker drains.
	Draining func() bool
}

func (r Registration) record() fleet.Worker {
	return fleet.Worker{
		ID: r.ID, Host: r.Host, Version: r.Version, Tunnels: r.Tunnels, Capacity: r.Capacity(), Draining: r.Draining(),
	}
}

// Registrar keeps the worker registered.
type Registrar struct {
	store    Store
	plane    *Plane
	log      *slog.Logger
	worker   Registration
	requests chan chan error // requests to write the record at once; the result goes into the inner channel
}

// NewRegistrar makes a registrar; Run starts it.
func NewRegistrar(store Store, plane *Plane, log *slog.Logger, worker Registration) *Registrar {
	return &Registrar{store: store, plane: plane, log: log, worker: worker, requests: make(chan chan error)}
}

// Run renews the registration until ctx ends.
func (r *Registrar) Run(ctx context.Context) {
	tick := time.NewTicker(lease.RenewEvery)
	defer tick.Stop()
	for registered := false; ; {
		err := r.store.PutWorker(ctx, r.worker.record(), lease.WorkerTTL)
		r.plane.Observe(ctx, err)
		if err == nil && !registered {
			r.plane.Hint(ctx, lease.TopicFleet)
		}
		registered = err == nil // after a fault the registration may have expired
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case response := <-r.requests:
			response <- r.store.PutWorker(ctx, r.worker.record(), lease.WorkerTTL)
		}
	}
}

// Update writes the registration now and wakes the supervisors.
func (r *Registrar) Update(ctx context.Context) {
	if r.write(ctx) == nil {
		r.plane.Hint(ctx, lease.TopicFleet)
	}
}

// write makes Run write the registration now, and returns the result.
func (r *Registrar) write(ctx context.Context) error {
	response := make(chan error, 1) // buffered: Run must not wait for a caller that has given up
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r.requests <- response:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-response:
		return err
	}
}

// AnnounceDrain writes the registration of a draining worker, and reports whether another worker can take a slot over.
func (r *Registrar) AnnounceDrain(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !r.plane.Up() || r.write(ctx) != nil {
		return false
	}
	workers, err := r.store.Workers(ctx)
	if err != nil {
		return false
	}
	r.plane.Hint(ctx, lease.TopicFleet)
	return slices.ContainsFunc(workers, r.canReplace)
}

// canReplace reports whether w can take over a slot of this worker.
func (r *Registrar) canReplace(w fleet.Worker) bool {
	if w.ID == r.worker.ID || w.Draining {
		return false
	}
	return slices.ContainsFunc(w.Tunnels, func(theirs fleet.TunnelRef) bool {
		return slices.ContainsFunc(r.worker.Tunnels, func(own fleet.TunnelRef) bool { return own.ID == theirs.ID })
	})
}

// Remove removes the registration, so that supervisors need not wait until it expires. Run must have ended.
func (r *Registrar) Remove(ctx context.Context) {
	if !r.plane.Up() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.store.RemoveWorker(ctx, r.worker.ID); err != nil {
		r.log.WarnContext(ctx, "registration not removed, it expires by itself", slog.Any(logkey.Err, err))
		return
	}
	r.plane.Hint(ctx, lease.TopicFleet)
}

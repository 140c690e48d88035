package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

const (
	// restTime is the shortest time between two renewals, so that many changes cost few calls.
	restTime = 10 * time.Millisecond
	// poolEvery is how many renewals pass between two reads of the edge pool.
	poolEvery = 15
)

// hooks are what a keeper calls in its Set.
type hooks struct {
	// wakeAll makes all keepers renew soon.
	wakeAll func()
	// holderEnded signals that a holder is gone and its lease released.
	holderEnded func()
}

// keeper keeps the leases of one tunnel and the holders of its slots.
type keeper struct {
	cfg        Config
	deps       Deps
	transports *transports
	hooks      hooks
	cred       tunnel.Credentials // as the worker started; the secret may be another one now
	auth       atomic.Pointer[tunnel.Credentials]
	token      bool // the credentials came as a run token
	log        *slog.Logger
	changed    chan struct{}
	// beat is when the loop last made progress; zero before its start.
	beat atomic.Pointer[time.Time]

	// holding runs the holders; the keeper's loop adds to it.
	holding sync.WaitGroup

	// mu guards what follows.
	mu        sync.Mutex
	connector tunnel.ConnectorID
	holders   map[tunnel.ConnIndex][]*conn.Holder // the newest last
	last      map[tunnel.ConnIndex]tunnel.Epoch   // the newest epoch that was ever held
	records   map[tunnel.ConnIndex]lease.Record
	reported  map[tunnel.ConnIndex]lease.Status // the last statuses that the store has
	pool      edgepool.Pool
	health    edgepool.Health
	leaving   bool // no new grant is accepted
	chose     bool // a transport was chosen for the first attempt
	releasing int  // holders that ended and whose lease is being released
}

func newKeeper(cfg Config, deps Deps, t *transports, h hooks, cred Credentials) *keeper {
	k := &keeper{
		cfg: cfg, deps: deps, transports: t, hooks: h, cred: cred.Credentials, token: cred.FromToken, changed: make(chan struct{}, 1),
		log:      deps.Logger.With(slog.String(logkey.TunnelID, cred.TunnelID.String())),
		holders:  map[tunnel.ConnIndex][]*conn.Holder{},
		last:     map[tunnel.ConnIndex]tunnel.Epoch{},
		records:  map[tunnel.ConnIndex]lease.Record{},
		reported: map[tunnel.ConnIndex]lease.Status{},
	}
	k.auth.Store(&k.cred)
	return k
}

// wake makes the loop renew soon.
func (k *keeper) wake() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// run keeps the leases until ctx ends, then waits for the holders, which end with it.
func (k *keeper) run(ctx context.Context) {
	defer k.holding.Wait()
	if !k.identify(ctx) {
		return
	}
	tick := time.NewTicker(lease.RenewEvery)
	defer tick.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for renewals := 0; ; renewals++ {
		k.progress()
		if renewals%poolEvery == 0 || k.poolIsEmpty() {
			k.readPool(ctx)
		}
		k.renew(ctx)
		k.probe(ctx)
		rest.Reset(restTime)
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
		case <-tick.C:
		}
	}
}

// identify reads or creates the connector id. It retries until the store responds, and returns false when ctx ends first.
func (k *keeper) identify(ctx context.Context) bool {
	policy := backoff.Policy{Base: 100 * time.Millisecond, Retries: 5}
	for failures := 0; ; {
		k.progress()
		candidate, err := tunnel.NewConnectorID(rand.Reader)
		if err == nil {
			var id tunnel.ConnectorID
			id, err = k.deps.Store.EnsureConnector(ctx, k.cred.TunnelID, candidate)
			k.deps.Control.Observe(ctx, err)
			if err == nil {
				k.mu.Lock()
				k.connector = id
				k.mu.Unlock()
				k.log.InfoContext(ctx, "connector has its id", slog.String(logkey.ConnectorID, id.String()))
				return true
			}
		}
		failures++
		timer := time.NewTimer(policy.Wait(failures, mathrand.Int64N))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

func (k *keeper) poolIsEmpty() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pool.Version == 0
}

// readPool reads the edge pool. The last good one stays for the time when the store is unavailable.
func (k *keeper) readPool(ctx context.Context) {
	p, err := k.deps.Store.Pool(ctx, k.cfg.Pool)
	if errors.Is(err, tunnel.ErrNotFound) {
		return
	}
	k.deps.Control.Observe(ctx, err)
	if err != nil {
		return
	}
	k.mu.Lock()
	k.pool, k.health = p, k.health.Within(p)
	k.mu.Unlock()
}

// renew reports the status of the slots to the store and reconciles the holders with the records that it returns.
func (k *keeper) renew(ctx context.Context) {
	reports, changed := k.reports()
	records, err := k.deps.Store.Renew(ctx, k.cred.TunnelID, k.connector, k.cfg.Worker, reports, lease.LeaseTTL)
	k.deps.Control.Observe(ctx, err)
	if err != nil {
		if !errors.Is(err, tunnel.ErrUnavailable) && ctx.Err() == nil {
			k.log.ErrorContext(ctx, "leases not renewed", slog.Any(logkey.Err, err))
		}
		return
	}
	k.confirm(reports)
	if changed {
		k.deps.Control.Hint(ctx, lease.TopicStatus)
	}
	k.reconcile(ctx, records)
}

// reports lists the status of the newest holder of each slot; changed means that a supervisor has to act on one of them.
func (k *keeper) reports() (list []lease.Report, changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for index, hs := range k.holders {
		if len(hs) == 0 {
			continue
		}
		v := hs[len(hs)-1].Snapshot()
		if v.Phase == lease.PhaseIdle || v.Phase == lease.PhaseEnded {
			continue
		}
		v.Status.Prefers = k.prefers(index, v)
		list = append(list, lease.Report{Index: index, Epoch: v.Grant.Epoch, Status: v.Status})
		known := k.reported[index]
		now := v.Status
		known.InFlight, now.InFlight = 0, 0
		changed = changed || known != now
	}
	return list, changed
}

// confirm remembers the statuses that the store has.
func (k *keeper) confirm(reports []lease.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range reports {
		k.reported[r.Index] = r.Status
	}
}

// reconcile makes the holders follow the records. It is level-triggered: the same records change nothing.
func (k *keeper) reconcile(ctx context.Context, records []lease.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range records {
		k.records[r.Slot.Index] = r
		if r.Worker == k.cfg.Worker {
			k.followOwn(ctx, r)
		} else {
			k.followOther(r)
		}
	}
}

// followOwn handles a record that names this worker.
func (k *keeper) followOwn(ctx context.Context, r lease.Record) {
	index := r.Slot.Index
	if !r.Live || k.leaving || r.Epoch <= k.last[index] {
		k.supersede(r)
		return
	}
	k.last[index] = r.Epoch
	granted := lease.Event{Kind: lease.EventGranted, Grant: r.Grant, Retries: r.Status.Retries}
	if hs := k.holders[index]; len(hs) > 0 {
		newest := hs[len(hs)-1]
		if canTake(newest.Snapshot(), r.Edge) {
			newest.Send(granted)
			k.supersede(r)
			return
		}
	}
	h := conn.New(r.Slot, k.holderConfig())
	k.holders[index] = append(k.holders[index], h)
	h.Send(granted)
	k.holding.Go(func() {
		h.Run(ctx)
		k.ended(ctx, h, index)
	})
	k.supersede(r)
}

// canTake reports whether a holder can continue with a newer grant: not when it drains, and not when it serves on another address
// than the granted one. Then a second holder connects before the first one ends.
func canTake(v conn.Snapshot, edge tunnel.EdgeAddr) bool {
	switch v.Phase {
	case lease.PhaseDraining, lease.PhaseEnded:
		return false
	case lease.PhaseConnected, lease.PhaseSuperseded:
		return v.Edge == edge
	default:
		return true
	}
}

// followOther handles a record that names another worker, or none.
func (k *keeper) followOther(r lease.Record) {
	if r.Worker != "" {
		k.supersede(r)
		return
	}
	for _, h := range k.holders[r.Slot.Index] {
		if h.Offered() <= r.Epoch {
			h.Send(lease.Event{Kind: lease.EventReleased})
		}
	}
}

// supersede sends the newer record to the holders of older epochs.
func (k *keeper) supersede(r lease.Record) {
	for _, h := range k.holders[r.Slot.Index] {
		if h.Offered() < r.Epoch {
			h.Send(lease.Event{Kind: lease.EventNewer, Newer: r})
		}
	}
}

// ended removes a holder and releases its lease.
func (k *keeper) ended(ctx context.Context, h *conn.Holder, index tunnel.ConnIndex) {
	k.mu.Lock()
	hs := k.holders[index]
	for i, other := range hs {
		if other == h {
			k.holders[index] = append(hs[:i:i], hs[i+1:]...)
			break
		}
	}
	delete(k.reported, index)
	k.releasing++
	slot := tunnel.Slot{Tunnel: k.cred.TunnelID, Connector: k.connector, Index: index}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.releasing--
		k.mu.Unlock()
		k.hooks.holderEnded()
	}()
	if ctx.Err() != nil {
		return // killed: nothing is released
	}
	err := k.deps.Store.Release(ctx, slot, k.cfg.Worker, h.Offered())
	k.deps.Control.Observe(ctx, err)
	switch {
	case err == nil:
		k.deps.Control.Hint(ctx, lease.TopicStatus)
	case errors.Is(err, tunnel.ErrFenced), errors.Is(err, tunnel.ErrNotFound), errors.Is(err, tunnel.ErrUnavailable):
	default:
		k.log.WarnContext(ctx, "lease not released, it expires by itself", slog.Any(logkey.Err, err))
	}
}

// refuseGrants ignores new grants from now on.
func (k *keeper) refuseGrants() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leaving = true
}

// drain ignores new grants and drains every holder.
func (k *keeper) drain() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leaving = true
	for _, hs := range k.holders {
		for _, h := range hs {
			h.Send(lease.Event{Kind: lease.EventDrain})
		}
	}
}

// held counts the holders that still run or whose lease has not been released.
func (k *keeper) held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.releasing
	for _, hs := range k.holders {
		n += len(hs)
	}
	return n
}

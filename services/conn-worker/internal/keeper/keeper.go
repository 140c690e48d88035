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

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

// keeper keeps the leases of one tunnel and the holders of its slots. It runs the machine of package keep.
type keeper struct {
	cfg     Config
	deps    Deps
	wakeAll func()             // makes the other keepers of the worker renew soon that hold slots
	cred    tunnel.Credentials // as the worker started; the secret may be another one now
	auth    atomic.Pointer[tunnel.Credentials]
	log     *slog.Logger
	changed chan struct{}
	asking  *asking
	marks   *marks
	looked  chan struct{}
	pools   *pools
	// busy is when the loop began what it does; nil while it waits.
	busy atomic.Pointer[time.Time]

	// timer is that of the machine. The loop alone touches it.
	timer *time.Timer
	// holding runs the holders; the keeper's loop adds to it.
	holding sync.WaitGroup

	// mu guards what follows.
	mu      sync.Mutex
	machine *keep.Machine
	holders map[keep.HolderID]*conn.Holder
	// shown is what the loop has not handled yet of what renewals of the worker's lease showed; nil is nothing.
	shown *keep.Looked
}

func newKeeper(cfg Config, deps Deps, shared shared, wakeAll func(), cred Credentials) *keeper {
	k := &keeper{
		cfg: cfg, deps: deps, asking: shared.asking, marks: shared.marks, wakeAll: wakeAll, cred: cred.Credentials,
		changed: make(chan struct{}, 1), looked: make(chan struct{}, 1), pools: shared.pools,
		log:     deps.Logger.With(slog.String(logkey.TunnelID, cred.TunnelID.String())),
		timer:   time.NewTimer(time.Hour),
		holders: map[keep.HolderID]*conn.Holder{},
	}
	k.timer.Stop()
	k.auth.Store(&k.cred)
	k.machine = keep.NewMachine(keep.Config{
		Tunnel: cred.TunnelID, Worker: cfg.Worker, Instance: cfg.Instance, Pool: cfg.Pool, Family: cfg.Family,
		Protocol: cfg.Protocol, Token: cred.FromToken,
		AccountHash: credential.AccountHash(cred.AccountTag), Alone: cfg.Alone, Lazy: cfg.Lazy,
	}, keep.Deps{
		View: func(id keep.HolderID) hold.View { return k.holders[id].Snapshot() }, Choices: shared.transports,
		Candidate: func() (tunnel.ConnectorID, error) { return tunnel.NewConnectorID(rand.Reader) },
		Backoff:   mathrand.Int64N, Pick: mathrand.IntN,
	})
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
	defer k.timer.Stop()
	k.begin()
	k.step(ctx, keep.Started{})
	for {
		k.busy.Store(nil)
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
			k.begin()
			k.step(ctx, keep.Woken{})
		case <-k.looked:
			k.begin()
			if l := k.lookedAt(); l != nil {
				k.step(ctx, *l)
			}
		case <-k.timer.C:
			k.begin()
			k.step(ctx, keep.Timer{})
		}
	}
}

// tellLook hands over what a renewal of the worker's lease showed. A keeper without slots that is told nothing has nothing to do.
func (k *keeper) tellLook(l keep.Looked) {
	k.mu.Lock()
	if k.machine.Idle() && !l.News {
		k.mu.Unlock()
		return
	}
	if k.shown != nil {
		l.Lost, l.News = l.Lost || k.shown.Lost, l.News || k.shown.News
	}
	k.shown = &l
	k.mu.Unlock()
	select {
	case k.looked <- struct{}{}:
	default:
	}
}

func (k *keeper) lookedAt() *keep.Looked {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.shown
	k.shown = nil
	return l
}

// step hands an event to the machine and executes the actions. Calls to the store are made here, and their replies handed on.
func (k *keeper) step(ctx context.Context, e keep.Event) {
	actions, err := k.decide(ctx, e)
	if err != nil {
		k.log.ErrorContext(ctx, "keeper refused an event", slog.Any(logkey.Err, err))
	}
	for _, a := range actions {
		k.do(ctx, a)
	}
}

// decide hands an event to the machine and returns the actions to execute. Those for the holders it executes itself, with the lock
// held, so that a holder gets its events in the order in which they were decided.
func (k *keeper) decide(ctx context.Context, e keep.Event) (others []keep.Action, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	actions, err := k.machine.Step(time.Now(), e)
	for _, a := range actions {
		switch a := a.(type) {
		case keep.Start:
			k.start(ctx, a)
		case keep.Send:
			k.holders[a.Holder].Send(a.Event)
		case keep.Rename:
			k.holders[a.Holder].Rename(a.Connector)
		case keep.Gone:
			delete(k.holders, a.Holder)
			others = append(others, a)
		default:
			others = append(others, a)
		}
	}
	return others, err
}

// start runs a new holder. k.mu is held.
func (k *keeper) start(ctx context.Context, a keep.Start) {
	h := conn.New(a.Slot, k.holderConfig())
	k.holders[a.Holder] = h
	k.holding.Go(func() {
		h.Run(ctx)
		k.step(ctx, keep.HolderEnded{Holder: a.Holder, Killed: ctx.Err() != nil})
	})
}

// do executes one action.
func (k *keeper) do(ctx context.Context, a keep.Action) {
	switch a := a.(type) {
	case keep.CallConnector:
		id, err := k.deps.Store.EnsureConnector(ctx, a.Tunnel, a.Candidate)
		k.step(ctx, keep.Identified{Connector: id, Err: err})
	case keep.CallWorkers:
		workers, err := k.deps.Store.Workers(ctx)
		k.step(ctx, keep.Listed{Workers: workers, Err: err})
	case keep.CallPool:
		pool, err := k.pools.Pool(ctx, a.Name)
		k.step(ctx, keep.PoolRead{Pool: pool, Err: err})
	case keep.CallRenew:
		table, err := k.deps.Store.Report(ctx, a.Tunnel, a.Connector, a.Worker, a.Instance, a.Reports)
		k.step(ctx, keep.Renewed{Table: table, Err: err})
	case keep.CallRelease:
		err := k.deps.Store.Release(ctx, a.Slot, a.Worker, a.Epoch)
		k.step(ctx, keep.Released{Holder: a.Holder, Err: err})
	case keep.Mark:
		k.step(ctx, keep.Marked{Err: k.marks.mark(ctx, a.Tunnel)})
	case keep.Hint:
		k.deps.Control.Hint(ctx, a.Topic)
	case keep.Observe:
		k.deps.Control.Observe(ctx, a.Err)
	case keep.Wake:
		k.timer.Reset(a.After)
	case keep.Gone:
		k.deps.HolderGone()
	case keep.Probe:
		k.holding.Go(func() { k.probe(ctx, a) })
	default:
		if tell := k.tell(ctx, a); tell != nil {
			tell()
		}
	}
}

// tell logs and counts what an action says. A fallback is logged by the function that it returns: the caller runs that after the
// line about the failure that led to it.
func (k *keeper) tell(ctx context.Context, a keep.Action) (later func()) {
	switch a := a.(type) {
	case keep.Named:
		if a.Former.IsZero() {
			k.log.InfoContext(ctx, "connector has its id", slog.String(logkey.ConnectorID, a.Connector.String()))
			return nil
		}
		k.log.WarnContext(ctx, "connector has another id in the store, new registrations use it",
			slog.String(logkey.ConnectorID, a.Connector.String()))
	case keep.Damaged:
		k.log.ErrorContext(ctx, "stored slot cannot be read, the others go on", slog.Any(logkey.Err, errors.New(a.String())))
	case keep.NotRenewed:
		if ctx.Err() == nil {
			k.log.ErrorContext(ctx, "leases not renewed", slog.Any(logkey.Err, a.Err))
		}
	case keep.NotReleased:
		k.log.WarnContext(ctx, "lease not released, it expires by itself", slog.Any(logkey.Err, a.Err))
	case keep.Rejected:
		k.slotLog(a.Slot, a.Edge).ErrorContext(ctx, "protocol event rejected", slog.Any(logkey.Err, a.Err))
	case keep.Turned:
		later = tellTurn(ctx, k.slotLog(a.Slot, a.Edge), a.Change)
		k.deps.Observer.Turned(a.Change.Turn)
	case keep.WakeAll:
		k.wakeAll()
	}
	return later
}

func (k *keeper) slotLog(slot tunnel.Slot, edge tunnel.EdgeAddr) *slog.Logger {
	return k.log.With(slog.Int(logkey.ConnIndex, int(slot.Index)), slog.String(logkey.EdgeAddr, edge.String()))
}

// refuseGrants ignores new grants from now on.
func (k *keeper) refuseGrants(ctx context.Context) { k.step(ctx, keep.RefuseGrants{}) }

// drain ignores new grants and drains every holder.
func (k *keeper) drain(ctx context.Context) { k.step(ctx, keep.Drain{}) }

// asleep reports whether nothing of the tunnel is of interest before there is news.
func (k *keeper) asleep() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Asleep()
}

// held counts the holders that still run or whose lease has not been released.
func (k *keeper) held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine.Count()
}

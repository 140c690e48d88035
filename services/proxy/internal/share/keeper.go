package share

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

const (
	// soon is the least time between two rounds.
	soon = 100 * time.Millisecond
	// idleFor is after how long without a flow a share is given back.
	idleFor = time.Minute
)

// Store is where the shares are; *redisstore.Store is one.
type Store interface {
	RenewQuota(ctx context.Context, id tunnel.ID, a quota.Ask) (quota.Answer, error)
	LeaveQuota(ctx context.Context, id tunnel.ID, process string) error
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Keeper keeps the shares of one process. It belongs to one goroutine.
type Keeper struct {
	store   Store
	process string
	flows   *limit.Flows
	log     *slog.Logger
	errors  prometheus.Counter

	seq  uint64
	held map[tunnel.ID]time.Time // those of which a record may be in the store, with the time when a flow last ran or was wanted
	down bool
}

// New makes a keeper for a process, whose name no other one has, and makes the limits of flows shared ones.
func New(store Store, process string, flows *limit.Flows, log *slog.Logger, reg prometheus.Registerer) *Keeper {
	flows.Share()
	return &Keeper{
		store: store, process: process, flows: flows, log: log, held: map[tunnel.ID]time.Time{},
		errors: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "culvert_proxy_quota_errors_total", Help: "Shares of limits that could not be renewed in the store; the last ones stay.",
		}),
	}
}

// Run renews the shares until ctx ends, and gives them back then.
func (k *Keeper) Run(ctx context.Context) {
	hints := k.store.Watch(ctx, lease.TopicQuota)
	defer k.leave(context.WithoutCancel(ctx))
	tick := time.NewTicker(quota.RenewEvery)
	defer tick.Stop()
	wait := soon
	for {
		again := k.round(ctx)
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C: // rounds do not follow each other at once
		}
		if again { // others may hold what is lacking until their flows end
			wait = min(2*wait, quota.RenewEvery)
			continue
		}
		wait = soon
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-hints:
		case <-k.flows.Wake():
		}
	}
}

// round renews all shares, and reports whether the next round is due soon: a share is smaller than what is needed.
func (k *Keeper) round(ctx context.Context) (again bool) {
	lacks := false
	for _, d := range k.flows.Demands() {
		last, known := k.held[d.Tunnel]
		if !known || d.Most > 0 {
			last = time.Now()
		}
		if time.Since(last) > idleFor && k.flows.Forget(d.Tunnel) {
			k.giveBack(ctx, d.Tunnel)
			continue
		}
		k.seq++
		k.held[d.Tunnel] = last
		want := quota.Want(d.Most)
		if d.Short {
			want *= 2 // how many there would have been is not known
		}
		a, err := k.store.RenewQuota(ctx, d.Tunnel, quota.Ask{
			Process: k.process, Seq: k.seq, Limit: d.Limit, Held: d.Held, Used: d.Used, Want: want,
		})
		if ctx.Err() != nil {
			return false
		}
		k.note(ctx, err)
		if err != nil {
			return false // the others would only wait for the store, too
		}
		k.flows.SetShare(d.Tunnel, a.Share)
		if a.Short && (d.Short || a.Share <= d.Used) {
			lacks = true
		}
	}
	if lacks {
		_ = k.store.Hint(ctx, lease.TopicQuota) // others renew on schedule, too
	}
	return lacks
}

// note counts what failed, and tells once that the store is away and that it is back.
func (k *Keeper) note(ctx context.Context, err error) {
	switch {
	case err != nil:
		k.errors.Inc()
		if !k.down {
			k.log.WarnContext(ctx, "shares of limits not renewed, the last ones stay", slog.Any(logkey.Err, err))
		}
	case k.down:
		k.log.InfoContext(ctx, "shares of limits renewed again")
	}
	k.down = err != nil
}

func (k *Keeper) giveBack(ctx context.Context, id tunnel.ID) {
	if k.store.LeaveQuota(ctx, id, k.process) == nil { // else it runs out
		delete(k.held, id)
	}
}

// leave gives back the shares of tunnels without flows; those of others run out when the process has ended.
func (k *Keeper) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, quota.RenewEvery)
	defer cancel()
	for id := range k.held {
		if k.flows.Forget(id) {
			k.giveBack(ctx, id)
		}
	}
}

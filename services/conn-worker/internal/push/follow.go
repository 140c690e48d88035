package push

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Store is where the proxies of a deployment are registered.
type Store interface {
	Proxies(ctx context.Context) ([]fleet.Proxy, error)
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Follower gives the balancer the proxies that are registered in the store. While the store is unavailable, and for a while after,
// it keeps the last ones.
type Follower struct {
	Store    Store
	Pusher   *Pusher
	Balancer *link.Balancer
	// Trust returns the current trust; it is called before each selection.
	Trust func() Trust
	// Observe receives the result of each read of the store.
	Observe func(ctx context.Context, err error)
	// Changed is called when the first proxy was added or the last one was removed.
	Changed func(ctx context.Context)
	Logger  *slog.Logger

	count atomic.Int64 // the proxies that the balancer has
}

// HasProxy reports whether the balancer has a proxy.
func (f *Follower) HasProxy() bool { return f.count.Load() > 0 }

// Run follows the store until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	wake := f.Store.Watch(ctx, lease.TopicFleet)
	tick := time.NewTicker(lease.RenewEvery)
	defer tick.Stop()
	usable := Selector{Logger: f.Logger}
	roster := fleet.Roster{Settle: lease.ProxyTTL + lease.RenewEvery}
	for {
		proxies, err := f.Store.Proxies(ctx)
		f.Observe(ctx, err)
		if err == nil {
			usable.Trust = f.Trust()
			f.set(ctx, f.Pusher.Admit(ctx, usable.Select(ctx, roster.Listed(time.Now(), proxies))))
		} else {
			roster.Missed()
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
	}
}

func (f *Follower) set(ctx context.Context, proxies []link.Proxy) {
	f.Balancer.SetProxies(proxies)
	before := f.count.Swap(int64(len(proxies)))
	if (before > 0) == (len(proxies) > 0) {
		return
	}
	f.Logger.InfoContext(ctx, "proxies changed", slog.Int(logkey.Proxies, len(proxies)))
	f.Changed(ctx)
}

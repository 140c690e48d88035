package proxy

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Store is where workers look for proxies.
type Store interface {
	PutProxy(ctx context.Context, p fleet.Proxy, ttl time.Duration) error
	RemoveProxy(ctx context.Context, id tunnel.ProxyID) error
	Hint(ctx context.Context, topic string) error
}

// farewell bounds what the end of a registration may take; the store may be away.
const farewell = 2 * time.Second

// registration tells workers where this proxy is. It belongs to the goroutine that keeps it.
type registration struct {
	store  Store
	record fleet.Proxy
	log    *slog.Logger
	known  bool // the last renewal reached the store
}

func newRegistration(store Store, cfg Config, host, version string, l net.Listener, log *slog.Logger) *registration {
	endpoint := cfg.Advertise
	if endpoint == "" {
		endpoint = reachable(link.EndpointOf(l).String(), host)
	}
	return &registration{store: store, log: log, known: true, record: fleet.Proxy{
		ID: tunnel.ProxyID(cfg.ID), Host: host, Version: version, Endpoint: endpoint, Instance: suffix(),
	}}
}

// reachable puts the host's name in place of an address that means "all of this host".
func reachable(endpoint, host string) string {
	const tcp = "tcp:"
	if len(endpoint) < len(tcp) || endpoint[:len(tcp)] != tcp {
		return endpoint
	}
	h, port, err := net.SplitHostPort(endpoint[len(tcp):])
	if err != nil {
		return endpoint
	}
	if ip := net.ParseIP(h); h == "" || ip != nil && ip.IsUnspecified() {
		return tcp + net.JoinHostPort(host, port)
	}
	return endpoint
}

// keep renews the registration until ctx or other ends. A store that is away is said once and tried again.
func (r *registration) keep(ctx, other context.Context) {
	ticker := time.NewTicker(lease.RenewEvery)
	defer ticker.Stop()
	for fresh := true; ; {
		if r.put(ctx) == nil && fresh {
			r.hint(ctx)
			fresh = false
		}
		select {
		case <-ctx.Done():
			return
		case <-other.Done():
			return
		case <-ticker.C:
		}
	}
}

// put writes the record once and logs when the store goes or comes back.
func (r *registration) put(ctx context.Context) error {
	err := r.store.PutProxy(ctx, r.record, lease.ProxyTTL)
	switch {
	case ctx.Err() != nil:
	case err != nil && r.known:
		r.log.WarnContext(ctx, "proxy registration failed", slog.Any(logkey.Err, err))
	case err == nil && !r.known:
		r.log.InfoContext(ctx, "proxy registered again")
	}
	r.known = err == nil
	return err
}

func (r *registration) hint(ctx context.Context) {
	if err := r.store.Hint(ctx, lease.TopicFleet); err != nil {
		r.log.DebugContext(ctx, "hint failed", slog.Any(logkey.Err, err)) // the record is there; workers read it soon anyway
	}
}

// announceDrain marks the record, so that workers stop choosing this proxy before its links say so.
func (r *registration) announceDrain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	r.record.Draining = true
	if r.put(ctx) == nil {
		r.hint(ctx)
	}
}

// remove takes the record away.
func (r *registration) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := r.store.RemoveProxy(ctx, r.record.ID); err != nil {
		r.log.WarnContext(ctx, "proxy registration not removed", slog.Any(logkey.Err, err)) // it expires
		return
	}
	r.hint(ctx)
}

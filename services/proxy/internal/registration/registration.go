package registration

import (
	"context"
	"log/slog"
	"net"
	"strings"
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

// removeTimeout bounds what the end of a registration may take, as the store may be unavailable.
const removeTimeout = 2 * time.Second

// Config says what workers are told about a proxy.
type Config struct {
	ID, Host, Version string
	// Instance is the name of this run of the process.
	Instance string
	// Advertise is the endpoint for workers; empty takes Listen, with the host's name in place of an unspecified address.
	Advertise string
	Listen    link.Endpoint
}

// Registration is the record of one proxy in the store. It belongs to the goroutine that runs Keep.
type Registration struct {
	store  Store
	record fleet.Proxy
	log    *slog.Logger
	known  bool // the last renewal reached the store
}

// New makes a registration and writes nothing yet.
func New(store Store, cfg Config, log *slog.Logger) *Registration {
	endpoint := cfg.Advertise
	if endpoint == "" {
		endpoint = reachable(cfg.Listen.String(), cfg.Host)
	}
	return &Registration{store: store, log: log, known: true, record: fleet.Proxy{
		ID: tunnel.ProxyID(cfg.ID), Host: cfg.Host, Version: cfg.Version, Endpoint: endpoint, Instance: cfg.Instance,
	}}
}

// reachable puts the host's name in place of an address that means "all of this host".
func reachable(endpoint, host string) string {
	const tcp = "tcp:"
	address, isTCP := strings.CutPrefix(endpoint, tcp)
	if !isTCP {
		return endpoint
	}
	h, port, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint
	}
	if ip := net.ParseIP(h); h == "" || ip != nil && ip.IsUnspecified() {
		return tcp + net.JoinHostPort(host, port)
	}
	return endpoint
}

// Keep renews the registration until ctx or other ends. A store that is unavailable is logged once and tried again.
func (r *Registration) Keep(ctx, other context.Context) {
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
func (r *Registration) put(ctx context.Context) error {
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

func (r *Registration) hint(ctx context.Context) {
	if err := r.store.Hint(ctx, lease.TopicFleet); err != nil {
		r.log.DebugContext(ctx, "hint failed", slog.Any(logkey.Err, err)) // the record is there; workers read it soon anyway
	}
}

// AnnounceDrain marks the record, so that workers stop choosing this proxy before its links say so.
func (r *Registration) AnnounceDrain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	r.record.Draining = true
	if r.put(ctx) == nil {
		r.hint(ctx)
	}
}

// Remove takes the record away.
func (r *Registration) Remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := r.store.RemoveProxy(ctx, r.record.ID); err != nil {
		r.log.WarnContext(ctx, "proxy registration not removed", slog.Any(logkey.Err, err)) // it expires
		return
	}
	r.hint(ctx)
}

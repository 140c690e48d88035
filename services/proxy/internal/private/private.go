package private

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/icmp"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/resolver"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/share"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

// Config is the configuration of UDP sessions, ping and the DNS service.
type Config struct {
	UDP  udp.Config      `yaml:"udp"`
	ICMP icmp.Config     `yaml:"icmp"`
	DNS  resolver.Config `yaml:"dns"`
}

// Default holds all defaults.
func Default() Config { return Config{UDP: udp.Default(), ICMP: icmp.Default()} }

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	return errors.Join(within("udp", c.UDP.Validate()), within("icmp", c.ICMP.Validate()), within("dns", c.DNS.Validate()))
}

// within puts the name of a section before each of its problems.
func within(section string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err != nil {
			err = fmt.Errorf("%s: %w", section, err)
		}
		return err
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, fmt.Errorf("%s: %w", section, e))
	}
	return errors.Join(errs...)
}

// Networks serves private networks besides the byte streams: UDP sessions, ping, and the DNS service. The byte streams share
// its dialer and its limit.
type Networks struct {
	dialer *dialer.Registry
	limit  *limit.Flows
	dns    *resolver.Service
	icmp   *icmp.Router
	udp    *udp.Table
	shares *share.Keeper // nil without other proxies
}

// Shares is where proxies share limits; *redisstore.Store is one.
type Shares = share.Store

// Deps are what Networks need.
type Deps struct {
	// Table has the live rules, and Point what the local policy allows.
	Table *router.Table
	Point *dialer.Point
	// Shares, when not nil, is where the proxies of a deployment share the limits of flows. Process is the name of this process there.
	Shares  Shares
	Process string

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// New starts nothing.
func New(cfg Config, deps Deps) (*Networks, error) {
	table, point, log, reg := deps.Table, deps.Point, deps.Logger, deps.Registerer
	settings := func(id tunnel.ID) ingress.WarpRouting { return table.For(id).Set.WarpRouting }
	n := &Networks{
		dialer: dialer.New(settings, point),
		limit:  limit.New(func(id tunnel.ID) uint64 { return settings(id).MaxActiveFlows }, reg),
	}
	var err error
	if n.dns, err = resolver.New(cfg.DNS, log, reg); err != nil {
		return nil, err
	}
	if deps.Shares != nil {
		n.shares = share.New(deps.Shares, deps.Process, n.limit, log, reg)
	}
	n.dialer.Reserve(resolver.Virtual(), n.dns)
	n.icmp = icmp.New(cfg.ICMP, point.Addr, log, reg)
	v4, v6 := n.icmp.Sources()
	log.Info("sources of ICMP errors", slog.String(logkey.IPv4, v4.String()), slog.String(logkey.IPv6, v6.String()),
		slog.String(logkey.Zone, n.icmp.Zone()))
	n.udp = udp.New(cfg.UDP, udp.Deps{Dialer: n.dialer, Limit: n.limit, Pinger: n.icmp, Logger: log, Registerer: reg})
	return n, nil
}

// Dialer opens private-network connections.
func (n *Networks) Dialer() *dialer.Registry { return n.dialer }

// Limit counts private-network flows of all kinds.
func (n *Networks) Limit() *limit.Flows { return n.limit }

// ICMPSources are the addresses from which this host sends ICMP errors.
func (n *Networks) ICMPSources() (v4, v6 netip.Addr) { return n.icmp.Sources() }

// Sessions is the number of UDP sessions.
func (n *Networks) Sessions() int { return n.udp.Sessions() }

// ServeStream serves a flow of datagrams to its end.
func (n *Networks) ServeStream(ctx context.Context, m link.Meta, st link.Stream) {
	n.udp.ServeStream(ctx, m, st)
}

// Run keeps the resolver of the DNS service up to date, and the shares of limits, until ctx ends.
func (n *Networks) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.dns.Run(ctx) })
	if n.shares != nil {
		g.Go(func() error {
			n.shares.Run(ctx)
			return nil
		})
	}
	return g.Wait()
}

// Drain ends the flows of datagrams. The UDP sessions wait for another proxy's worker as after a lost one.
func (n *Networks) Drain() { n.udp.Drain() }

// Close ends what runs, and waits for it.
func (n *Networks) Close() {
	n.udp.Close()
	n.icmp.Close()
}

package proxy

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/icmp"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/resolver"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

// private is what serves private networks besides the byte streams: UDP sessions, ping, and the DNS service. Dialer and
// limit are shared with the byte streams.
type private struct {
	dialer *dialer.Registry
	limit  *limit.Flows
	dns    *resolver.Service
	icmp   *icmp.Router
	udp    *udp.Table
}

// newPrivate starts nothing.
func newPrivate(cfg Config, table *router.Table, log *slog.Logger, reg prometheus.Registerer) (*private, error) {
	warp := func() ingress.WarpRouting { return table.Current().Set.WarpRouting }
	p := &private{dialer: dialer.New(warp), limit: limit.New(func() uint64 { return warp().MaxActiveFlows }, reg)}
	var err error
	if p.dns, err = resolver.New(cfg.DNS, log, reg); err != nil {
		return nil, err
	}
	p.dialer.Reserve(resolver.Virtual(), p.dns)
	p.icmp = icmp.New(cfg.ICMP, log, reg)
	p.udp = udp.New(cfg.UDP, udp.Deps{Dialer: p.dialer, Limit: p.limit, Pinger: p.icmp, Logger: log, Registerer: reg})
	return p, nil
}

// close ends what runs, and waits for it.
func (p *private) close() {
	p.udp.Close()
	p.icmp.Close()
}

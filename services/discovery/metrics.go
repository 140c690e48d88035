package discovery

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

type metrics struct {
	up, leading prometheus.Gauge
	// addresses of the pool as last seen.
	addresses prometheus.Gauge
	lookups   *prometheus.CounterVec
	// breakers are the states of the breakers of the name servers.
	breakers *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_control_plane_up", Help: "Whether the store responds.",
			ConstLabels: prometheus.Labels{"service": "discovery"},
		}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_discovery_leading", Help: "Whether this replica publishes.",
		}),
		addresses: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_discovery_pool_addresses", Help: "Addresses in the pool as last seen.",
		}),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_discovery_lookups_total", Help: "Lookups of the whole pool, by result.",
		}, []string{"result"}),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "culvert_discovery_resolver_breaker",
			Help: "Breaker of each name server that failed: 0 queried, 1 being tried, 2 not queried for 30 s.",
		}, []string{logkey.Resolver}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.up, m.leading, m.addresses, m.lookups, m.breakers} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

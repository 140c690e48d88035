package supervisor

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
)

type metrics struct {
	up, leading, shards prometheus.Gauge
	grants              *prometheus.CounterVec
	conflicts           prometheus.Counter
	troubles            *prometheus.CounterVec
	heldOff             prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_control_plane_up", Help: "Whether the store responds.",
			ConstLabels: prometheus.Labels{"service": pass.Role},
		}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_supervisor_leading", Help: "Whether this supervisor plans.",
		}),
		shards: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_supervisor_shards", Help: "Shards of tunnels that this supervisor plans for.",
		}),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_supervisor_decisions_total", Help: "Slots granted and released, by cause.",
		}, []string{"cause"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "culvert_supervisor_conflicts_total", Help: "Decisions that the store refused because the world had moved on.",
		}),
		troubles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_supervisor_troubles_total", Help: "Errors of one record, pool, connector or grant, by kind; everything else went on.",
		}, []string{"kind"}),
		heldOff: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "culvert_supervisor_slots_held_off_total", Help: "Grants that make a slot wait because its holders died one after the other.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.up, m.leading, m.shards, m.grants, m.conflicts, m.troubles, m.heldOff} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

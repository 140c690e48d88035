package supervisor

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
)

type metrics struct {
	up, leading prometheus.Gauge
	grants      *prometheus.CounterVec
	conflicts   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_control_plane_up", Help: "Whether the last call to the store succeeded.",
			ConstLabels: prometheus.Labels{"service": pass.Role},
		}),
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_supervisor_leading", Help: "Whether this supervisor plans.",
		}),
		grants: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_supervisor_decisions_total", Help: "Slots granted and released, by cause.",
		}, []string{"cause"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "culvert_supervisor_conflicts_total", Help: "Decisions that the store refused because the world had moved on.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.up, m.leading, m.grants, m.conflicts} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

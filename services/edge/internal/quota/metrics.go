package quota

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

type metrics struct {
	// refused counts what was not granted, by the bound that was reached.
	refused map[share.Verdict]prometheus.Counter
	evicted prometheus.Counter
}

// newMetrics registers the metrics of one resource. used and keys are called when metrics are collected.
func newMetrics(reg prometheus.Registerer, resource string, limits share.Limits, used, keys func() float64) *metrics {
	f := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"resource": resource}, reg))
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "culvert", Subsystem: "edge", Name: name, Help: help}
	}
	f.NewGaugeFunc(prometheus.GaugeOpts(opts("quota_used", "Amount of a bounded resource that is in use.")), used)
	f.NewGaugeFunc(prometheus.GaugeOpts(opts("quota_keys", "Tunnels or networks of addresses that use a bounded resource.")), keys)
	limit := f.NewGaugeVec(prometheus.GaugeOpts(opts("quota_limit",
		"Bounds of a resource: in total, and the share of one tunnel or network; 0 = none.")), []string{"bound"})
	limit.WithLabelValues(share.Full.String()).Set(float64(limits.Total))
	limit.WithLabelValues(share.OverShare.String()).Set(float64(limits.PerKey))
	refused := f.NewCounterVec(prometheus.CounterOpts(opts("quota_refused_total",
		"Requests for a bounded resource that were refused, by the bound that was reached.")), []string{"bound"})
	m := &metrics{
		refused: make(map[share.Verdict]prometheus.Counter),
		evicted: f.NewCounter(prometheus.CounterOpts(opts("quota_evicted_total",
			"Pending entries of a bounded resource that made room for newer ones."))),
	}
	for _, v := range []share.Verdict{share.Full, share.OverShare} {
		m.refused[v] = refused.WithLabelValues(v.String())
	}
	return m
}

// count counts a verdict, unless it is share.Granted.
func (m *metrics) count(v share.Verdict) {
	if c, ok := m.refused[v]; ok {
		c.Inc()
	}
}

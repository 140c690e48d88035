package connector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
)

// The results of a session that was not decided about, beside those of a decision.
const (
	resultProbe   admit.Result = "probe"   // ended without an attempt
	resultTimeout admit.Result = "timeout" // no attempt in time
	resultEvicted admit.Result = "evicted" // the place was needed before a registration
)

type metrics struct {
	// registrations counts decisions, by result.
	registrations *prometheus.CounterVec
	// ended counts registered sessions that ended, by reason.
	ended *prometheus.CounterVec
	// refusedStreams counts streams of connectors that the edge has no use for.
	refusedStreams prometheus.Counter
	sessions       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		registrations: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "registrations_total",
			Help: "Registrations of connectors by result.",
		}, []string{"result"}),
		ended: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "connections_ended_total",
			Help: "Registered connections that ended, by reason.",
		}, []string{"reason"}),
		refusedStreams: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "connector_streams_refused_total",
			Help: "Streams opened by connectors that the edge has no use for.",
		}),
		sessions: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "sessions",
			Help: "Sessions of connectors, registered or not.",
		}),
	}
}

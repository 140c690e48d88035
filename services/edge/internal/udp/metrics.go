package udp

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// reason says why a datagram was dropped.
type reason string

const (
	dropMalformed   reason = "malformed"
	dropUnexpected  reason = "unexpected"   // of a type that a connector does not send
	dropUnknownFlow reason = "unknown_flow" // an answer to a flow that is over, or of another tunnel
	dropTooLarge    reason = "too_large"    // more than the wire or the path carries
	dropNoRoom      reason = "no_room"      // too many wait for a connection
	dropNotSent     reason = "not_sent"     // the connection went away
)

func reasons() []reason {
	return []reason{dropMalformed, dropUnexpected, dropUnknownFlow, dropTooLarge, dropNoRoom, dropNotSent}
}

type metrics struct {
	sent, received prometheus.Counter
	dropped        map[reason]prometheus.Counter
	flows          prometheus.Gauge
	// registrations counts what came of asking a connection for a flow, moves the flows that changed theirs.
	registrations *prometheus.CounterVec
	moves         *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	datagrams := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "datagrams_total", Help: "Datagrams to and from connectors.",
	}, []string{"direction"})
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "datagrams_dropped_total", Help: "Datagrams that the edge dropped, by reason.",
	}, []string{"reason"})
	m := &metrics{
		sent: datagrams.WithLabelValues("sent"), received: datagrams.WithLabelValues("received"),
		dropped: make(map[reason]prometheus.Counter),
		flows: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "udp_flows", Help: "UDP flows through tunnels.",
		}),
		registrations: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "udp_registrations_total", Help: "Registrations of UDP flows at connectors, by result.",
		}, []string{"result"}),
		moves: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "udp_moves_total", Help: "Connections whose UDP flows moved elsewhere, by cause.",
		}, []string{"cause"}),
	}
	for _, r := range reasons() {
		m.dropped[r] = dropped.WithLabelValues(string(r))
	}
	return m
}

func (m *metrics) drop(r reason) { m.dropped[r].Inc() }

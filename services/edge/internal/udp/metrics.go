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
	dropUnknownFlow reason = "unknown_flow" // for a flow that is over, or of another tunnel
	dropTooLarge    reason = "too_large"    // does not fit into a datagram of the wire or the path
	dropIncomplete  reason = "incomplete"   // fragments of a payload did not come
	dropNoRoom      reason = "no_room"      // a queue or the budget of kept bytes is full
	dropNotSent     reason = "not_sent"     // the connection ended
)

func reasons() []reason {
	return []reason{dropMalformed, dropUnexpected, dropUnknownFlow, dropTooLarge, dropIncomplete, dropNoRoom, dropNotSent}
}

type metrics struct {
	sent, received prometheus.Counter
	dropped        map[reason]prometheus.Counter
	flows          prometheus.Gauge
	// registrations counts registrations at connectors by result, moves the connections that lost their flows by cause.
	registrations *prometheus.CounterVec
	moves         *prometheus.CounterVec
}

// newMetrics registers the metrics. kept is called when metrics are collected.
func newMetrics(reg prometheus.Registerer, kept func() float64) *metrics {
	f := promauto.With(reg)
	datagrams := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "datagrams_total", Help: "Datagrams to and from connectors.",
	}, []string{"direction"})
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "datagrams_dropped_total", Help: "Datagrams that the edge dropped, by reason.",
	}, []string{"reason"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "udp_kept_bytes", Help: "Bytes of payloads that UDP flows keep for retransmission.",
	}, kept)
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

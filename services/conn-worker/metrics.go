package connworker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

type metrics struct {
	up             prometheus.Gauge
	connected      prometheus.Collector
	inFlight       prometheus.Gauge
	dials          *prometheus.CounterVec
	turns          *prometheus.CounterVec
	received, sent prometheus.Counter
	dropped        map[udp.Reason]prometheus.Counter
	udpSessions    prometheus.Gauge
	streams        map[relay.Outcome]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, connected func() float64) (*metrics, error) {
	streams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_streams_total", Help: "Streams that the edge opened, by how they ended.",
	}, []string{"outcome"})
	datagrams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_datagrams_total", Help: "Datagrams that came from the edge and that were sent to it.",
	}, []string{"direction"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_datagrams_dropped_total", Help: "Datagrams that the worker dropped, by reason.",
	}, []string{"reason"})
	m := &metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_control_plane_up", Help: "Whether the last call to the store succeeded.",
			ConstLabels: prometheus.Labels{"service": "conn-worker"},
		}),
		connected: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "culvert_worker_connections", Help: "Registered connections to the edge.",
		}, connected),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_worker_streams_in_flight", Help: "Streams being served.",
		}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_worker_dials_total", Help: "Sessions dialled, by the reason of their failure and by transport; none is success.",
		}, []string{"reason", "protocol"}),
		turns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_worker_protocol_turns_total", Help: "Slots that fell back to another transport, returned, or probed in vain.",
		}, []string{"turn"}),
		received: datagrams.WithLabelValues("received"),
		sent:     datagrams.WithLabelValues("sent"),
		dropped:  map[udp.Reason]prometheus.Counter{},
		udpSessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_worker_udp_sessions", Help: "UDP sessions that the connections of this worker know.",
		}),
		streams: map[relay.Outcome]prometheus.Counter{},
	}
	for _, o := range relay.Outcomes() {
		m.streams[o] = streams.WithLabelValues(string(o))
	}
	for _, r := range udp.Reasons() {
		m.dropped[r] = dropped.WithLabelValues(string(r))
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.up, m.connected, m.inFlight, m.dials, m.turns, m.udpSessions, datagrams, dropped, streams} {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// StreamOpened counts a stream that begins.
func (m *metrics) StreamOpened() { m.inFlight.Inc() }

// StreamEnded counts a stream that ended.
func (m *metrics) StreamEnded(o relay.Outcome) {
	m.inFlight.Dec()
	m.streams[o].Inc()
}

// DatagramReceived counts a datagram of the edge.
func (m *metrics) DatagramReceived() { m.received.Inc() }

// DatagramSent counts a datagram to the edge.
func (m *metrics) DatagramSent() { m.sent.Inc() }

// DatagramDropped counts a datagram that went nowhere.
func (m *metrics) DatagramDropped(why udp.Reason) { m.dropped[why].Inc() }

// SessionsChanged counts UDP sessions that come and go.
func (m *metrics) SessionsChanged(by int) { m.udpSessions.Add(float64(by)) }

func (m *metrics) turned(t protocol.Turn) { m.turns.WithLabelValues(t.String()).Inc() }

func (m *metrics) setUp(up bool) {
	if up {
		m.up.Set(1)
		return
	}
	m.up.Set(0)
}

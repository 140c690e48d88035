package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

// Metrics are the metrics of a worker.
type Metrics struct {
	up             prometheus.Gauge
	inFlight       prometheus.Gauge
	dials          *prometheus.CounterVec
	turns          *prometheus.CounterVec
	received, sent prometheus.Counter
	dropped        map[udp.Reason]prometheus.Counter
	udpSessions    prometheus.Gauge
	streams        map[relay.Outcome]prometheus.Counter
	vectors        []prometheus.Collector // the vectors of received, sent, dropped and streams
}

// New makes metrics that no registry shows yet.
func New() *Metrics {
	streams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_streams_total", Help: "Streams that the edge opened, by how they ended.",
	}, []string{"outcome"})
	datagrams := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_datagrams_total", Help: "Datagrams that came from the edge and that were sent to it.",
	}, []string{"direction"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_worker_datagrams_dropped_total", Help: "Datagrams that the worker dropped, by reason.",
	}, []string{"reason"})
	m := &Metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_control_plane_up", Help: "Whether the last call to the store succeeded.",
			ConstLabels: prometheus.Labels{"service": "conn-worker"},
		}),
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
	m.vectors = []prometheus.Collector{datagrams, dropped, streams}
	return m
}

// Register adds the metrics to reg, which may be nil; connected counts the registered connections.
func (m *Metrics) Register(reg prometheus.Registerer, connected func() float64) error {
	if reg == nil {
		return nil
	}
	connections := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "culvert_worker_connections", Help: "Registered connections to the edge.",
	}, connected)
	var errs []error
	for _, c := range append(m.vectors, m.up, connections, m.inFlight, m.dials, m.turns, m.udpSessions) {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

// StreamOpened counts a stream.
func (m *Metrics) StreamOpened() { m.inFlight.Inc() }

// StreamEnded counts a stream that ended.
func (m *Metrics) StreamEnded(o relay.Outcome) {
	m.inFlight.Dec()
	m.streams[o].Inc()
}

// DatagramReceived counts a datagram of the edge.
func (m *Metrics) DatagramReceived() { m.received.Inc() }

// DatagramSent counts a datagram to the edge.
func (m *Metrics) DatagramSent() { m.sent.Inc() }

// DatagramDropped counts a datagram that was dropped.
func (m *Metrics) DatagramDropped(why udp.Reason) { m.dropped[why].Inc() }

// SessionsChanged adds to the number of UDP sessions.
func (m *Metrics) SessionsChanged(by int) { m.udpSessions.Add(float64(by)) }

// Dialed counts one dial.
func (m *Metrics) Dialed(reason tunnel.Reason, p tunnel.Protocol) {
	label := string(reason)
	if reason == tunnel.ReasonNone {
		label = "none"
	}
	m.dials.WithLabelValues(label, string(p)).Inc()
}

// Turned counts one change of a slot's transport.
func (m *Metrics) Turned(t protocol.Turn) { m.turns.WithLabelValues(t.String()).Inc() }

// SetUp records whether the store is available.
func (m *Metrics) SetUp(up bool) {
	if up {
		m.up.Set(1)
		return
	}
	m.up.Set(0)
}

package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
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
	udpSessions    *prometheus.GaugeVec
	udpRegistered  *prometheus.CounterVec
	streams        map[relay.Outcome]prometheus.Counter
	calls, served  calls
	paths          *paths
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
			Name: "culvert_control_plane_up", Help: "Whether the store responds.",
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
		udpSessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "culvert_worker_udp_sessions", Help: "UDP sessions that the connections of this worker know.",
		}, []string{labelIndex, "datagrams"}),
		udpRegistered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_worker_udp_sessions_total", Help: "UDP sessions that a proxy accepted, by connection and version of datagrams.",
		}, []string{labelIndex, "datagrams"}),
		calls: newCalls(prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_worker_calls_total", Help: "Calls to the edge, by method and result.",
		}, []string{"method", "result"}), prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "culvert_worker_call_seconds", Help: "Time that calls to the edge took.", Buckets: callBuckets(),
		}, []string{"method"})),
		served: newCalls(prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_worker_served_calls_total", Help: "Calls of the edge, by method and result.",
		}, []string{"method", "result"}), prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "culvert_worker_served_call_seconds", Help: "Time that calls of the edge took.", Buckets: callBuckets(),
		}, []string{"method"})),
		paths:   newPaths(),
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

// Register adds the metrics to reg, which may be nil; registered lists the registered connections.
func (m *Metrics) Register(reg prometheus.Registerer, registered func() []Place) error {
	if reg == nil {
		return nil
	}
	connections := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "culvert_worker_connections", Help: "Registered connections to the edge.",
	}, func() float64 { return float64(len(registered())) })
	var errs []error
	for _, c := range append(m.vectors, m.up, connections, m.inFlight, m.dials, m.turns, m.udpSessions, m.udpRegistered,
		m.calls.total, m.calls.seconds, m.served.total, m.served.seconds, m.paths, newPlaces(registered)) {
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

// SessionsChanged adds to the number of UDP sessions of a connection.
func (m *Metrics) SessionsChanged(index tunnel.ConnIndex, v udp.Version, by int) {
	m.udpSessions.WithLabelValues(number(index), v.String()).Add(float64(by))
}

// SessionRegistered counts a UDP session that a proxy accepted.
func (m *Metrics) SessionRegistered(index tunnel.ConnIndex, v udp.Version) {
	m.udpRegistered.WithLabelValues(number(index), v.String()).Inc()
}

// Told counts a call that told the edge of the end of a UDP session.
func (m *Metrics) Told(took time.Duration, err error) {
	m.calls.count(string(relay.UnregisterUDPSession), took, err)
}

// Called counts a call to the edge.
func (m *Metrics) Called(method conn.Method, took time.Duration, err error) {
	m.calls.count(string(method), took, err)
}

// Served counts a call of the edge.
func (m *Metrics) Served(method relay.Method, took time.Duration, err error) {
	m.served.count(string(method), took, err)
}

// Opened takes the figures of a session's path from now on, if its transport has any.
func (m *Metrics) Opened(slot tunnel.Slot, s transport.Session) { m.paths.add(slot, s) }

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

package front

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

type metrics struct {
	// requests counts finished requests; results holds its children, so that the hot path looks none up.
	requests *prometheus.CounterVec
	results  [len(resultNames)]prometheus.Counter
	inFlight prometheus.Gauge
	retries  prometheus.Counter
	// wait is the time from the request head to the answer's head.
	wait prometheus.Histogram

	connections prometheus.Gauge
	turnedAway  prometheus.Counter
	handshakes  prometheus.Counter
	webSockets  prometheus.Gauge
	// refused counts what the guard refused, by reason.
	refused map[h1guard.Reason]prometheus.Counter
}

// result is how a request ended.
type result int

const (
	resultServed  result = iota
	resultPage           // answered by the edge itself
	resultAborted        // the visitor went away
	resultBroken         // the answer broke off
)

//nolint:gochecknoglobals // a table that nothing changes
var resultNames = [...]string{"served", "error_page", "visitor_gone", "broken_off"}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		refused: make(map[h1guard.Reason]prometheus.Counter),
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "requests_total",
			Help: "Public requests by result.",
		}, []string{"result"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "requests_in_flight",
			Help: "Public requests that are being served.",
		}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "request_retries_total",
			Help: "Requests that were sent again on another connection.",
		}),
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "response_wait_seconds",
			Help:    "Time from a request's head to its answer's head.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 100},
		}),
	}
	m.connections = f.NewGauge(prometheus.GaugeOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "visitor_connections",
		Help: "Connections of visitors.",
	})
	m.turnedAway = f.NewCounter(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "visitor_connections_turned_away_total",
		Help: "Connections of visitors that were closed at once, since there were too many.",
	})
	m.handshakes = f.NewCounter(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "visitor_handshakes_failed_total",
		Help: "TLS handshakes of visitors that failed.",
	})
	m.webSockets = f.NewGauge(prometheus.GaugeOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "websockets",
		Help: "WebSocket connections that are being carried.",
	})
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "malformed_requests_total",
		Help: "HTTP/1 connections that were refused because of how a request was written, by reason.",
	}, []string{"reason"})
	for _, r := range h1guard.Reasons() {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	for i, name := range resultNames {
		m.results[i] = m.requests.WithLabelValues(name)
	}
	return m
}

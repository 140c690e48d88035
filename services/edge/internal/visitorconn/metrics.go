package visitorconn

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

type metrics struct {
	connections prometheus.Gauge
	handshakes  prometheus.Counter
	proxyHeads  prometheus.Counter
	refused     map[h1guard.Reason]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		refused: make(map[h1guard.Reason]prometheus.Counter),
		connections: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "visitor_connections",
			Help: "Open connections of visitors.",
		}),
		handshakes: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "visitor_handshakes_failed_total",
			Help: "Failed TLS handshakes of visitors.",
		}),
		proxyHeads: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "visitor_proxy_headers_failed_total",
			Help: "Connections of trusted proxies that were closed because they did not begin with a header of the PROXY protocol.",
		}),
	}
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "malformed_requests_total",
		Help: "HTTP/1 connections that were refused because of how a request was written, by reason.",
	}, []string{"reason"})
	for _, r := range h1guard.Reasons() {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	return m
}

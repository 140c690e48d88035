package flow

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/duplex"
)

// streamKind is what a byte stream is: a bounded set, used as a metric label.
type streamKind int

// The kinds of streams.
const (
	streamWebSocket streamKind = iota // a websocket to an HTTP origin
	streamUpgrade                     // another protocol of an HTTP origin
	streamTCP                         // a private-network connection
	streamService                     // a service behind a websocket of ours
	streamKinds
)

// String names the kind.
func (k streamKind) String() string {
	switch k {
	case streamWebSocket:
		return "websocket"
	case streamUpgrade:
		return "upgrade"
	case streamTCP:
		return "tcp"
	case streamService:
		return "service"
	case streamKinds:
	}
	return "unknown"
}

// streamMetrics are the figures of byte streams, looked up once.
type streamMetrics struct {
	active  [streamKinds]prometheus.Gauge
	total   [streamKinds]prometheus.Counter
	ended   [streamKinds][duplex.Causes]prometheus.Counter
	bytes   [2]prometheus.Counter // by the side they went to
	connect prometheus.Histogram
	refused prometheus.Counter
}

func newStreamMetrics(reg prometheus.Registerer) *streamMetrics {
	f := promauto.With(reg)
	m := &streamMetrics{
		connect: f.NewHistogram(prometheus.HistogramOpts{
			Name: "culvert_proxy_stream_connect_seconds", Help: "Time to connect a private-network stream or a stream service.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "culvert_proxy_stream_connect_errors_total", Help: "Private-network streams and stream services without a connection.",
		}),
	}
	active := f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "culvert_proxy_streams_active", Help: "Byte streams that are running.",
	}, []string{"kind"})
	total := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_streams_total", Help: "Byte streams that were accepted.",
	}, []string{"kind"})
	ended := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_streams_ended_total", Help: "Byte streams that are over, by cause.",
	}, []string{"kind", "reason"})
	bytes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_stream_bytes_total", Help: "Payload of byte streams, by the side it went to.",
	}, []string{"to"})
	for k := range streamKinds {
		m.active[k], m.total[k] = active.WithLabelValues(k.String()), total.WithLabelValues(k.String())
		for c := range duplex.Causes {
			m.ended[k][c] = ended.WithLabelValues(k.String(), c.String())
		}
	}
	for _, s := range []duplex.Side{duplex.Edge, duplex.Origin} {
		m.bytes[s] = bytes.WithLabelValues(s.String())
	}
	return m
}

func (m *streamMetrics) begin(k streamKind) {
	m.active[k].Inc()
	m.total[k].Inc()
}

func (m *streamMetrics) end(k streamKind, c duplex.Cause) {
	m.active[k].Dec()
	m.ended[k][c].Inc()
}

func (m *streamMetrics) count(to duplex.Side, n int) { m.bytes[to].Add(float64(n)) }

// connected takes in how an attempt to connect went.
func (m *streamMetrics) connected(began time.Time, err error) {
	if err != nil {
		m.refused.Inc()
		return
	}
	m.connect.Observe(time.Since(began).Seconds())
}

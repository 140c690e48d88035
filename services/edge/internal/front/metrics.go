package front

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	// requests counts finished requests, by how they ended.
	requests [len(endingNames)]prometheus.Counter
	inFlight prometheus.Gauge
	// retries counts repeated requests, doubtRetries those of them that left a connection in doubt.
	retries, doubtRetries prometheus.Counter
	// wait is the time from the head of a request to the head of its response.
	wait prometheus.Histogram
}

// ending is how a request ended.
type ending int

const (
	served    ending = iota
	errorPage        // the edge itself responded
	aborted          // the visitor went away
	truncated        // the response broke off
)

//nolint:gochecknoglobals // a table that nothing changes
var endingNames = [...]string{served: "served", errorPage: "error_page", aborted: "visitor_gone", truncated: "broken_off"}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "requests_in_flight",
			Help: "Public requests that are being served.",
		}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "request_retries_total",
			Help: "Requests that were sent again on another connection.",
		}),
		doubtRetries: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "request_doubt_retries_total",
			Help: "Requests that were sent again on another connection because nothing arrived from theirs any more.",
		}),
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "response_wait_seconds",
			Help:    "Time from the head of a request to the head of its response.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 100},
		}),
	}
	requests := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "requests_total",
		Help: "Public requests by result.",
	}, []string{"result"})
	for i, name := range endingNames {
		m.requests[i] = requests.WithLabelValues(name)
	}
	return m
}

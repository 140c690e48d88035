package flow

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the figures of all flows. Labelled counters are looked up once, at construction.
type metrics struct {
	running   atomic.Int64
	total     prometheus.Counter
	heads     heads
	faults    map[failureKind]prometheus.Counter
	firstByte prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		total: f.NewCounter(prometheus.CounterOpts{
			Name: "culvert_proxy_requests_total", Help: "Flows taken from workers.",
		}),
		firstByte: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "culvert_proxy_origin_first_byte_seconds",
			Help:    "Time from a flow's start to the head of the origin's response.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		faults: make(map[failureKind]prometheus.Counter),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "culvert_proxy_requests_in_flight", Help: "Flows that are running.",
	}, func() float64 { return float64(m.running.Load()) })
	m.heads.describe()
	if reg != nil {
		reg.MustRegister(&m.heads)
	}
	errs := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_request_errors_total", Help: "Flows that failed or were refused.",
	}, []string{"reason"})
	for _, k := range []failureKind{
		failureCancelled, failureRequest, failureDenied, failureKeys, failurePolicy, failureTooLarge, failureLimited, failureFull,
		failureShare, failureRule, failureRate, failureBusy, failureChecks,
		failureDial, failureTLS, failureTimeout, failureProtocol, failureInternal,
	} {
		m.faults[k] = errs.WithLabelValues(string(k))
	}
	return m
}

func (m *metrics) begin() {
	m.total.Inc()
	m.running.Add(1)
}

func (m *metrics) end() { m.running.Add(-1) }

// responded counts a head that the proxy made itself.
func (m *metrics) responded(status int) { m.heads.count(&m.heads.own, status) }

// answered counts a head of a rule's service.
func (m *metrics) answered(status int) { m.heads.count(&m.heads.service, status) }

func (m *metrics) count(k failureKind) { m.faults[k].Inc() }

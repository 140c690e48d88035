package icmp

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// reason says why a packet was dropped. The names are those of the reference.
type reason int

const (
	writeFailed reason = iota
	writeFull
	writeFlowUnknown
	writeDenied // not of the reference: by the local policy
	readFailed
	readTooLarge
	reasons
)

type metrics struct {
	flows                     atomic.Int64
	requests, replies, errors prometheus.Counter
	dropped                   [reasons]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "culvert_proxy_icmp_" + name, Help: help})
	}
	m := &metrics{
		requests: counter("requests_total", "ICMP packets from edges."),
		replies:  counter("replies_total", "Echo replies sent back."),
		errors:   counter("errors_sent_total", "ICMP errors sent back, our own and those of the network."),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "culvert_proxy_icmp_flows_active", Help: "Pings that hold a socket.",
	}, func() float64 { return float64(m.flows.Load()) })
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_icmp_dropped_packets_total", Help: "ICMP packets dropped.",
	}, []string{"reason"})
	for r, name := range [reasons]string{"write_failed", "write_full", "write_flow_unknown", "write_denied", "read_failed", "read_too_large"} {
		m.dropped[r] = dropped.WithLabelValues(name)
	}
	return m
}

func (m *metrics) drop(r reason) { m.dropped[r].Inc() }

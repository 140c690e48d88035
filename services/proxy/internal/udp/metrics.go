package udp

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// reason says why a datagram was dropped. The names are those of the reference.
type reason int

const (
	writeFailed reason = iota
	writeDeadlineExceeded
	writeFull
	writeFlowUnknown
	readFailed
	readTooLarge
	reasons
)

// metrics are the figures of all sessions. Labelled counters are looked up once, at construction.
type metrics struct {
	active, orphans          atomic.Int64
	total, failed            prometheus.Counter
	repeated, migrated       prometheus.Counter
	toOrigin, toEdge         prometheus.Counter
	dropped                  [reasons]prometheus.Counter
	refused                  map[datagram.Result]prometheus.Counter
	flowErrors, unknownTypes prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "culvert_proxy_udp_" + name, Help: help})
	}
	m := &metrics{
		total:        counter("sessions_total", "UDP sessions begun."),
		failed:       counter("sessions_failed_total", "UDP sessions ended by an error of their socket."),
		repeated:     counter("registrations_repeated_total", "Registrations of a session that the same flow had registered."),
		migrated:     counter("sessions_migrated_total", "UDP sessions moved to another flow."),
		flowErrors:   counter("flow_errors_total", "Datagram flows ended because of a malformed message."),
		unknownTypes: counter("messages_skipped_total", "Messages of a type that this version does not know."),
		refused:      make(map[datagram.Result]prometheus.Counter),
	}
	gauge := func(name, help string, v *atomic.Int64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "culvert_proxy_udp_" + name, Help: help}, func() float64 { return float64(v.Load()) })
	}
	gauge("sessions_active", "UDP sessions that are open.", &m.active)
	gauge("sessions_orphaned", "Open UDP sessions without a flow to a worker.", &m.orphans)
	datagrams := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_udp_datagrams_total", Help: "UDP datagrams by direction.",
	}, []string{"direction"})
	m.toOrigin, m.toEdge = datagrams.WithLabelValues("origin"), datagrams.WithLabelValues("edge")
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_udp_dropped_datagrams_total", Help: "UDP datagrams dropped.",
	}, []string{"reason"})
	for r, name := range [reasons]string{
		"write_failed", "write_deadline_exceeded", "write_full", "write_flow_unknown", "read_failed", "read_too_large",
	} {
		m.dropped[r] = dropped.WithLabelValues(name)
	}
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_udp_registrations_refused_total", Help: "Registrations refused, by result.",
	}, []string{"result"})
	for _, r := range []datagram.Result{
		datagram.ResultUnreachable, datagram.ResultNoSocket, datagram.ResultTooManyFlows, datagram.ResultError,
	} {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	return m
}

func (m *metrics) drop(r reason) { m.dropped[r].Inc() }

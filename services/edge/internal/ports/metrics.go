package ports

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ending is how a visitor's connection ended.
type ending int

const (
	ended         ending = iota // both directions by FIN
	visitorGone                 // the visitor reset the connection, or read nothing for too long
	originReset                 // the connector reset the stream
	connectorLost               // the connection to the connector was lost
	idle                        // the idle timeout expired
	stopped                     // the edge stops
	noConnector                 // the tunnel has no connection
	refused                     // the connector did not reach the origin
	limited                     // the port has too many connections
	overShare                   // the visitor's address has too many connections on the port
)

//nolint:gochecknoglobals // a table that nothing changes
var endingNames = [...]string{
	"ended", "visitor_gone", "origin_reset", "connector_lost", "idle", "stopped", "no_connector", "refused", "limited", "address_limited",
}

// drop is why a datagram from or to a visitor was dropped.
type drop int

const (
	dropLimit       drop = iota // a source was evicted for a newer one; counted once per source
	dropShare                   // the same, for a newer one of the same address, which used up its share
	dropQueue                   // too many waited for the association to open
	dropNotOpen                 // the association could not be opened
	dropTooLarge                // for the path to the connector
	dropEnded                   // the association had ended
	dropUnreachable             // the visitor cannot be reached
)

//nolint:gochecknoglobals // a table that nothing changes
var dropNames = [...]string{"limit", "address_limit", "queue_full", "not_opened", "too_large", "ended", "unreachable"}

type metrics struct {
	associations          prometheus.Gauge
	packetsIn, packetsOut prometheus.Counter
	drops                 [len(dropNames)]prometheus.Counter
	connEndings           [len(endingNames)]prometheus.Counter
	connections           prometheus.Gauge
	retries               prometheus.Counter
	in, out               prometheus.Counter
	open, failed          prometheus.Gauge
	wait                  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	results := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "port_connections_total",
		Help: "TCP connections of public ports by how they ended.",
	}, []string{"result"})
	bytes := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "port_bytes_total",
		Help: "Bytes of TCP connections of public ports, from visitors (in) and to them (out).",
	}, []string{"direction"})
	state := f.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "ports",
		Help: "Public ports by state: open, or failed to open.",
	}, []string{"state"})
	m := &metrics{
		connections: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "port_connections",
			Help: "TCP connections of public ports that are being served.",
		}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "port_retries_total",
			Help: "TCP connections of public ports that were tried again on another connection.",
		}),
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "port_connect_seconds",
			Help:    "Time until the connector had reached the origin of a TCP connection.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		in: bytes.WithLabelValues("in"), out: bytes.WithLabelValues("out"),
		open: state.WithLabelValues("open"), failed: state.WithLabelValues("failed"),
	}
	m.associations = f.NewGauge(prometheus.GaugeOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "port_associations",
		Help: "Sources of datagrams with an association on a UDP port.",
	})
	packets := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "port_datagrams_total",
		Help: "Datagrams of UDP ports, from visitors (in) and to them (out).",
	}, []string{"direction"})
	m.packetsIn, m.packetsOut = packets.WithLabelValues("in"), packets.WithLabelValues("out")
	drops := f.NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "port_datagrams_dropped_total",
		Help: "Datagrams of UDP ports that were dropped, by reason.",
	}, []string{"reason"})
	for i, name := range dropNames {
		m.drops[i] = drops.WithLabelValues(name)
	}
	for i, name := range endingNames {
		m.connEndings[i] = results.WithLabelValues(name)
	}
	return m
}

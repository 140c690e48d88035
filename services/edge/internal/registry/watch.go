package registry

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry/doubt"
)

// Watch checks all connections of a table for signs of life while requests wait on them.
type Watch struct {
	table  *Table
	log    *slog.Logger
	doubts *prometheus.CounterVec
	now    prometheus.Gauge

	conns []*Conn // of Run alone
}

// NewWatch makes a watch; Run starts it.
func NewWatch(t *Table, log *slog.Logger, reg prometheus.Registerer) *Watch {
	f := promauto.With(reg)
	return &Watch{
		table: t, log: log,
		doubts: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "connection_doubts_total",
			Help: "Times that a connection came into doubt: nothing arrived from it after something was sent.",
		}, []string{"protocol"}),
		now: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "connections_in_doubt",
			Help: "Connections that are in doubt now; requests prefer others.",
		}),
	}
}

// Run checks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(doubt.Every)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		w.check(ctx, now.Sub(last))
		last = now
	}
}

// check looks at every connection once.
func (w *Watch) check(ctx context.Context, elapsed time.Duration) {
	w.conns = w.table.appendProbed(w.conns[:0])
	doubted := 0
	for _, c := range w.conns {
		w.checkOne(ctx, c, elapsed)
		if c.InDoubt() {
			doubted++
		}
	}
	w.now.Set(float64(doubted))
	clear(w.conns) // a connection that ends must not stay in memory
}

func (w *Watch) checkOne(ctx context.Context, c *Conn, elapsed time.Duration) {
	p, m := c.trust.prober, &c.trust.machine
	begun, inFlight := c.load.read()
	if m.Idle(begun, inFlight > 0) {
		return
	}
	switch m.Check(elapsed, doubt.Seen{Received: p.Received(), Begun: begun, Waiting: inFlight > 0, RTT: p.RTT()}) {
	case doubt.None:
	case doubt.Probe:
		if !p.Probe() {
			m.NotSent()
		}
	case doubt.Doubt:
		w.doubts.WithLabelValues(string(c.Protocol)).Inc()
		w.logOf(c, inFlight).DebugContext(ctx, "connection in doubt")
		c.Doubt()
	case doubt.Trust:
		w.logOf(c, inFlight).DebugContext(ctx, "connection trusted again")
		c.Trust()
	}
}

func (w *Watch) logOf(c *Conn, inFlight int64) *slog.Logger {
	return w.log.With(slog.String(logkey.TunnelID, c.Slot.Tunnel.String()),
		slog.String(logkey.ConnectorID, c.Slot.Connector.String()), slog.Int(logkey.ConnIndex, int(c.Slot.Index)),
		slog.String(logkey.EdgeAddr, c.Local.String()), slog.Int64(logkey.InFlight, inFlight))
}

// appendProbed appends the connections that can be probed.
func (t *Table) appendProbed(out []*Conn) []*Conn {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, g := range t.groups {
		for _, c := range g.conns {
			if c.trust.prober != nil && c.alive() {
				out = append(out, c)
			}
		}
	}
	return out
}

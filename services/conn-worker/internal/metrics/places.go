package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Place is where a registered connection ends: the location that the edge gave with the registration.
type Place struct {
	Tunnel   tunnel.ID
	Index    tunnel.ConnIndex
	Location string
}

// places shows where each connection is, and where it was: a place that a connection has left stays with the value 0, as in the
// reference. It knows the places that were seen when somebody asked for the metrics; nobody else has seen the others.
type places struct {
	desc    *prometheus.Desc
	current func() []Place

	mu   sync.Mutex
	seen map[Place]bool
}

func newPlaces(current func() []Place) *places {
	return &places{current: current, seen: make(map[Place]bool), desc: newGaugeDesc(prometheus.GaugeOpts{
		Name: "culvert_worker_location",
		Help: "Where connections to the edge are registered: 1 for the present place, 0 for an earlier one.",
	}, []string{labelTunnel, labelIndex, "location"})}
}

// Describe lists the family.
func (c *places) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// maxPlaces bounds what an edge can make the worker remember.
const maxPlaces = 4096

// Collect asks for the present places.
func (c *places) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) > maxPlaces {
		clear(c.seen)
	}
	for p := range c.seen {
		c.seen[p] = false
	}
	for _, p := range c.current() {
		c.seen[p] = true
	}
	for p, here := range c.seen {
		v := 0.0
		if here {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, v, p.Tunnel.String(), number(p.Index), p.Location)
	}
}

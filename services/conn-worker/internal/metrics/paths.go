package metrics

import (
	"context"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	labelTunnel = "tunnel_id"
	labelIndex  = "conn_index"
)

// line is a connection index of a tunnel. What is counted on it goes on when one session follows another.
type line struct {
	tunnel tunnel.ID
	index  tunnel.ConnIndex
}

// number is an index as a label.
func number(index tunnel.ConnIndex) string { return strconv.Itoa(int(index)) }

// paths collects what the transports measure. They are asked when somebody asks for the metrics, so that packets cost nothing.
type paths struct {
	rtt, window, mtu     *prometheus.Desc
	bytes, packets, lost *prometheus.Desc
	opened, running      *prometheus.Desc

	mu    sync.Mutex
	lines map[line]*path
}

// path is the sessions of one line.
type path struct {
	// open are the sessions that have not ended, the newest last.
	open []*measured
	// done is the sum over those that have.
	done   transport.Path
	opened int
}

// measured is a session that measures.
type measured struct {
	transport.Measured
	// lost is the most packets that were lost so far: the transport's figure may sink again, a counter must not.
	lost uint64
}

func (m *measured) now() transport.Path {
	p := m.Path()
	m.lost = max(m.lost, p.PacketsLost)
	p.PacketsLost = m.lost
	return p
}

func newCounterDesc(opts prometheus.CounterOpts, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(opts.Name, opts.Help, labels, nil)
}

func newGaugeDesc(opts prometheus.GaugeOpts, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(opts.Name, opts.Help, labels, nil)
}

func newPaths() *paths {
	return &paths{
		lines: make(map[line]*path),
		rtt: newGaugeDesc(prometheus.GaugeOpts{
			Name: "culvert_worker_quic_rtt_seconds",
			Help: "Round-trip time to the edge: the least of the session, the latest and the smoothed one.",
		}, []string{labelTunnel, labelIndex, "kind"}),
		window: newGaugeDesc(prometheus.GaugeOpts{
			Name: "culvert_worker_quic_congestion_window_bytes", Help: "Bytes that may be on their way to the edge.",
		}, []string{labelTunnel, labelIndex}),
		mtu: newGaugeDesc(prometheus.GaugeOpts{
			Name: "culvert_worker_quic_mtu_bytes", Help: "Size of the largest packets to the edge.",
		}, []string{labelTunnel, labelIndex}),
		bytes: newCounterDesc(prometheus.CounterOpts{
			Name: "culvert_worker_quic_bytes_total", Help: "Bytes of QUIC packets to and from the edge, without UDP and IP headers.",
		}, []string{labelTunnel, labelIndex, "direction"}),
		packets: newCounterDesc(prometheus.CounterOpts{
			Name: "culvert_worker_quic_packets_total", Help: "QUIC packets to and from the edge.",
		}, []string{labelTunnel, labelIndex, "direction"}),
		lost: newCounterDesc(prometheus.CounterOpts{
			Name: "culvert_worker_quic_packets_lost_total", Help: "QUIC packets to the edge that were taken for lost.",
		}, []string{labelTunnel, labelIndex}),
		opened: newCounterDesc(prometheus.CounterOpts{
			Name: "culvert_worker_quic_sessions_total", Help: "QUIC sessions whose handshake succeeded.",
		}, []string{labelTunnel, labelIndex}),
		running: newGaugeDesc(prometheus.GaugeOpts{
			Name: "culvert_worker_quic_sessions", Help: "QUIC sessions that have not ended.",
		}, []string{labelTunnel, labelIndex}),
	}
}

// add follows a session until it ends.
func (c *paths) add(slot tunnel.Slot, s transport.Session) {
	source, ok := s.(transport.Measured)
	if !ok {
		return
	}
	key, m := line{slot.Tunnel, slot.Index}, &measured{Measured: source}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.lines[key]
	if p == nil {
		p = &path{}
		c.lines[key] = p
	}
	p.open = append(p.open, m)
	p.opened++
	context.AfterFunc(s.Context(), func() { c.remove(p, m) })
}

func (c *paths) remove(p *path, m *measured) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addCounts(&p.done, m.now())
	for i, other := range p.open {
		if other == m {
			p.open = append(p.open[:i:i], p.open[i+1:]...)
			return
		}
	}
}

// addCounts adds the counters of p to sum.
func addCounts(sum *transport.Path, p transport.Path) {
	sum.BytesSent += p.BytesSent
	sum.BytesReceived += p.BytesReceived
	sum.PacketsSent += p.PacketsSent
	sum.PacketsReceived += p.PacketsReceived
	sum.PacketsLost += p.PacketsLost
}

// Describe lists the families.
func (c *paths) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.rtt, c.window, c.mtu, c.bytes, c.packets, c.lost, c.opened, c.running} {
		ch <- d
	}
}

// Collect asks all sessions. The gauges of a line are those of its newest session, and absent without one.
func (c *paths) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, p := range c.lines {
		of, index := key.tunnel.String(), number(key.index)
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{of, index}, labels...)...)
		}
		counter := func(d *prometheus.Desc, v uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{of, index}, labels...)...)
		}
		sum := p.done
		for i, m := range p.open {
			now := m.now()
			addCounts(&sum, now)
			if i < len(p.open)-1 {
				continue
			}
			gauge(c.rtt, now.MinRTT.Seconds(), "min")
			gauge(c.rtt, now.LatestRTT.Seconds(), "latest")
			gauge(c.rtt, now.SmoothedRTT.Seconds(), "smoothed")
			gauge(c.window, float64(now.CongestionWindow))
			if now.MTU > 0 {
				gauge(c.mtu, float64(now.MTU))
			}
		}
		counter(c.bytes, sum.BytesSent, "sent")
		counter(c.bytes, sum.BytesReceived, "received")
		counter(c.packets, sum.PacketsSent, "sent")
		counter(c.packets, sum.PacketsReceived, "received")
		counter(c.lost, sum.PacketsLost)
		counter(c.opened, uint64(p.opened))
		gauge(c.running, float64(len(p.open)))
	}
}

package visitorconn

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/edge/internal/forwarded"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Config bounds the connections of visitors.
type Config struct {
	// WriteTimeout is how long a write may go on while the visitor reads no byte; 0 is no limit.
	WriteTimeout time.Duration
	// PrepareTimeout bounds the header of the PROXY protocol and the TLS handshake.
	PrepareTimeout time.Duration
	// Connections bounds all connections, and ConnectionsPerAddress those of one address (share.Network; 0 is share.OfAddress).
	// The connections of trusted proxies count only among all.
	Connections, ConnectionsPerAddress int
	// TargetBytes and Header bound the heads of requests over HTTP/1.
	TargetBytes int
	Header      httpfield.Limits
	// Proxies are trusted.
	Proxies forwarded.Proxies
	// ProxyProtocol says that the connections of trusted proxies begin with a header of the PROXY protocol.
	ProxyProtocol bool
}

// Gate is what the listeners of one edge share: the limits and the metrics.
type Gate struct {
	cfg     Config
	metrics *metrics
	// closing ends the time that closed connections are kept for their last response.
	closing atomic.Bool

	places *quota.Counter[holder]
	// proxied numbers the connections of trusted proxies.
	proxied atomic.Uint64
}

// holder is the key of a place: the network of an address. Each connection of a trusted proxy is a key of its own, so that
// proxies have no share.
type holder struct {
	network netip.Prefix
	proxied uint64
}

// NewGate makes a gate.
func NewGate(cfg Config, reg prometheus.Registerer) *Gate {
	return &Gate{
		cfg: cfg, metrics: newMetrics(reg), places: quota.NewCounter[holder](reg, "visitor_connections",
			share.OfAddress(cfg.Connections, cfg.ConnectionsPerAddress)),
	}
}

// CloseAtOnce makes connections close without the time that visitors have to read their last response. It is called when
// the time to drain is over.
func (g *Gate) CloseAtOnce() { g.closing.Store(true) }

// admit takes a place for a connection from an address, and returns how to give it back; nil when there is none.
func (g *Gate) admit(addr netip.Addr) (leave func()) {
	h := holder{network: share.Network(addr)}
	if g.cfg.Proxies.Contain(addr) {
		h.proxied = g.proxied.Add(1)
	}
	if g.places.Take(h, 1) != share.Granted {
		return nil
	}
	g.metrics.connections.Inc()
	return sync.OnceFunc(func() {
		g.metrics.connections.Dec()
		g.places.Give(h, 1)
	})
}

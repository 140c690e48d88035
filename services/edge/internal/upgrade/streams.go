package upgrade

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Config bounds upgraded streams.
type Config struct {
	// Max bounds all streams, and MaxPerAddress those of the visitors with one address (share.Network; 0 is share.OfAddress).
	Max, MaxPerAddress int
	// WriteTimeout is how long a write to the connector may make no progress; 0 is no limit.
	WriteTimeout time.Duration
	// HalfCloseTimeout is how long one direction may be silent once the other has ended; 0 is no limit.
	HalfCloseTimeout time.Duration
	// DrainTimeout is how long open streams may go on at shutdown.
	DrainTimeout time.Duration
}

// Streams tracks the upgraded streams: it counts them against their limits and ends them at shutdown.
type Streams struct {
	cfg     Config
	backlog *backlog.Watch
	places  *quota.Counter[netip.Prefix] // by the visitor's address
	count   prometheus.Gauge
	// buffers are small while a stream is idle, as most are.
	buffers flexbuf.Pool

	// mu guards the fields below.
	mu   sync.Mutex
	open map[*Stream]struct{}
	// empty is closed when no stream is open any more and draining is set.
	empty    chan struct{}
	draining bool
}

// New makes the set. b aborts streams that fill a connection's window while their visitors read nothing; nil aborts none.
func New(cfg Config, b *backlog.Watch, reg prometheus.Registerer) *Streams {
	return &Streams{
		cfg: cfg, backlog: b, places: quota.NewCounter[netip.Prefix](reg, "websockets", share.OfAddress(cfg.Max, cfg.MaxPerAddress)),
		open: make(map[*Stream]struct{}), empty: make(chan struct{}),
		count: promauto.With(reg).NewGauge(prometheus.GaugeOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "websockets",
			Help: "Open WebSocket connections and other upgraded streams.",
		}),
	}
}

// Admit counts a stream; its Close must be called. It reports false when a limit leaves no room: that of all streams, or the
// share of the visitor's address.
func (s *Streams) Admit(v Visitor, c Connector) (*Stream, bool) {
	p := &Stream{streams: s, from: v, via: c.Conn, st: c.Stream, halfClose: c.HalfClose, upDone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.places.Take(share.Network(v.Addr), 1) != share.Granted {
		return nil, false
	}
	s.open[p] = struct{}{}
	s.count.Inc()
	return p, true
}

func (s *Streams) remove(p *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, p)
	s.places.Give(share.Network(p.from.Addr), 1)
	s.count.Dec()
	s.noteEmptyLocked()
}

// noteEmptyLocked closes empty when the last stream has ended during a drain; s.mu is held.
func (s *Streams) noteEmptyLocked() {
	if s.draining && len(s.open) == 0 {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// Run waits for the end of ctx, gives the streams the drain timeout to end, aborts the rest and waits for it.
func (s *Streams) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.draining = true
	s.noteEmptyLocked()
	s.mu.Unlock()
	limit := time.NewTimer(s.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-s.empty:
		return nil
	case <-limit.C:
	}
	s.mu.Lock()
	for p := range s.open {
		transport.Abort(p.st) // its Run returns an error
	}
	s.mu.Unlock()
	<-s.empty
	return nil
}

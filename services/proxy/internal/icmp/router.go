package icmp

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	codec "github.com/culvert-tunnel/culvert/pkg/wire/icmp"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Router sends pings and passes the responses back.
type Router struct {
	cfg     Config
	allowed func(dst netip.Addr) error
	log     *slog.Logger
	metrics *metrics
	v4, v6  netip.Addr
	zone    string
	began   time.Time
	idle    time.Duration // ends a flow
	wg      sync.WaitGroup

	// mu guards the rest.
	mu     sync.Mutex
	flows  map[key]*flow
	closed bool
}

// key names a flow.
type key struct {
	src, dst netip.Addr
	id       uint16
}

// New makes a router for pings to the addresses that allowed returns no error for, and logs once if the system forbids ping sockets.
func New(cfg Config, allowed func(dst netip.Addr) error, log *slog.Logger, reg prometheus.Registerer) *Router {
	r := &Router{cfg: cfg, allowed: allowed, log: log, metrics: newMetrics(reg), began: time.Now(), idle: idleTime, flows: make(map[key]*flow)}
	r.v4, r.v6, r.zone = sources(cfg)
	r.check()
	return r
}

// Sources are the addresses from which this host sends its own ICMP errors.
func (r *Router) Sources() (v4, v6 netip.Addr) { return r.v4, r.v6 }

// Zone is the interface that has the IPv6 source, "" when it was configured or there is none.
func (r *Router) Zone() string { return r.zone }

// check tries a socket of each family. A failure is a warning only when a source address is configured.
func (r *Router) check() {
	err4, err6 := try(false), try(true)
	if err4 == nil && err6 == nil {
		return
	}
	args := []any{slog.Bool(logkey.IPv4, err4 == nil), slog.Bool(logkey.IPv6, err6 == nil)}
	if err4 == nil {
		err4 = err6
	}
	args = append(args, slog.Any(logkey.Err, err4))
	if fix := remedy(err4); fix != "" {
		args = append(args, slog.String(logkey.Remedy, fix))
	}
	const message = "ping through the tunnel is not available"
	if r.cfg.SourceV4 != "" || r.cfg.SourceV6 != "" {
		r.log.Warn(message, args...)
	} else {
		r.log.Info(message, args...)
	}
}

func try(is6 bool) error {
	s, err := open(is6)
	if err != nil {
		return err
	}
	s.close()
	return nil
}

func (r *Router) now() time.Duration { return time.Since(r.began) }

// Ping sends a packet of an edge on. back receives the responses, as whole packets, and reports false when the edge does not want
// them any more; the last back of a flow counts.
func (r *Router) Ping(packet []byte, back func(packet []byte) bool) {
	r.metrics.requests.Inc()
	p, err := codec.Parse(packet)
	if err != nil {
		r.metrics.drop(writeFailed)
		r.log.Debug("icmp packet dropped", logkey.Err, err)
		return
	}
	if p.TTL <= 1 && !p.IsError() {
		r.exceeded(&p, back)
		return
	}
	echo, err := p.Echo()
	if err != nil || !p.IsEchoRequest() {
		r.metrics.drop(writeFailed)
		return
	}
	if err := r.allowed(p.Dst); err != nil {
		r.metrics.drop(writeDenied)
		r.log.Debug("ping denied", logkey.Dest, p.Dst, logkey.Err, err)
		return
	}
	f := r.flow(key{src: p.Src, dst: p.Dst, id: echo.ID}, back)
	if f == nil {
		return
	}
	if err := f.send(&p); err != nil {
		r.metrics.drop(writeFailed)
		r.log.Debug("ping not sent", logkey.Dest, p.Dst, logkey.Err, err)
	}
}

// exceeded makes the time-exceeded error for a packet whose time to live has run out.
func (r *Router) exceeded(p *codec.Packet, back func([]byte) bool) {
	router := r.v4
	if p.Is6() {
		router = r.v6
	}
	out, err := codec.AppendError(nil, router, p.Src, codec.TimeExceeded(p.Is6()), p.Raw)
	if err != nil {
		r.metrics.drop(writeFailed)
		return
	}
	r.giveBack(out, back, r.metrics.errors)
}

// giveBack sends a packet towards the edge.
func (r *Router) giveBack(packet []byte, back func([]byte) bool, count prometheus.Counter) {
	switch {
	case len(packet) > maxPacket:
		r.metrics.drop(readTooLarge)
	case !back(packet):
		r.metrics.drop(writeFlowUnknown)
	default:
		count.Inc()
	}
}

// flow finds or makes a flow; nil means that the packet is dropped, and counted.
func (r *Router) flow(k key, back func([]byte) bool) *flow {
	r.mu.Lock()
	f, n := r.flows[k], len(r.flows)
	if f != nil {
		f.setBack(back)
	}
	r.mu.Unlock()
	if f != nil {
		return f
	}
	if n >= r.cfg.MaxFlows {
		r.metrics.drop(writeFull)
		return nil
	}
	s, err := open(k.src.Is6())
	if err != nil {
		r.metrics.drop(writeFailed)
		r.log.Debug("no ping socket", logkey.Err, err)
		return nil
	}
	return r.insert(newFlow(r, k, s, back))
}

// insert puts a new flow in its place, unless another goroutine was quicker or the router is closed.
func (r *Router) insert(f *flow) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.flows[f.key]; old != nil || r.closed {
		f.discard()
		return old
	}
	r.flows[f.key] = f
	r.metrics.flows.Add(1)
	r.wg.Add(1)
	go f.receive()
	return f
}

// remove ends a flow.
func (r *Router) remove(f *flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flows[f.key] == f {
		delete(r.flows, f.key)
		r.metrics.flows.Add(-1)
		f.discard()
	}
}

// Close ends all flows and waits for them.
func (r *Router) Close() {
	r.mu.Lock()
	r.closed = true
	for k, f := range r.flows {
		delete(r.flows, k)
		r.metrics.flows.Add(-1)
		f.discard()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

package udp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/faultgate"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

// Dialer opens sockets; *dialer.Registry is one.
type Dialer interface {
	// DialUDP gives a socket that is connected to dst, for a flow of a tunnel.
	DialUDP(ctx context.Context, id tunnel.ID, dst netip.AddrPort) (net.Conn, error)
}

// Pinger takes the ICMP packets of a flow. back sends one the other way; it reports false when the flow has ended.
type Pinger interface {
	Ping(packet []byte, back func(packet []byte) bool)
}

// Deps are what a Table is given.
type Deps struct {
	Dialer Dialer
	// Limit is shared with the TCP flows of private networks.
	Limit *limit.Flows
	// Pinger may be nil: then ICMP packets are dropped.
	Pinger     Pinger
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Table holds all sessions.
type Table struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	began   time.Time
	faults  faultgate.Gate
	wg      sync.WaitGroup
	// kept is the size of the responses that wait in sessions without a flow.
	kept atomic.Int64

	// mu guards the rest, and which flow a session has.
	mu       sync.RWMutex
	sessions map[key]*session
	flows    map[*flow]struct{}
	draining bool // no new flows
	closed   bool // no new sessions and goroutines either
}

// New makes an empty table. It starts nothing.
func New(cfg Config, deps Deps) *Table {
	return &Table{
		cfg: cfg, deps: deps, log: deps.Logger, metrics: newMetrics(deps.Registerer), began: time.Now(),
		sessions: make(map[key]*session), flows: make(map[*flow]struct{}),
	}
}

// Sessions is the number of open sessions.
func (t *Table) Sessions() int { return int(t.metrics.active.Load()) }

// now is the table's clock, which is monotonic.
func (t *Table) now() time.Duration { return time.Since(t.began) }

// begin makes Close wait for one more goroutine, unless it is too late.
func (t *Table) begin() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return false
	}
	t.wg.Add(1)
	return true
}

// add makes a flow known.
func (t *Table) add(f *flow) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining || t.closed {
		return false
	}
	t.flows[f] = struct{}{}
	t.wg.Add(1)
	return true
}

// Drain ends all flows in order, so that workers take their sessions to another proxy, and refuses new ones.
func (t *Table) Drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
	for f := range t.flows {
		f.finish()
	}
}

// Close ends all flows and sessions, and waits until nothing of them runs.
func (t *Table) Close() {
	t.mu.Lock()
	t.draining, t.closed = true, true
	var all []*session
	for _, s := range t.sessions {
		all = append(all, s)
	}
	flows := t.flows
	t.flows = nil
	t.mu.Unlock()
	for _, s := range all {
		t.end(s, "proxy stopped", false)
	}
	for f := range flows {
		f.cancel()
	}
	t.wg.Wait()
}

// orphan keeps the sessions of a flow that has ended for the next flow.
func (t *Table) orphan(ctx context.Context, f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flows, f)
	if n := len(f.sessions); n > 0 {
		t.log.DebugContext(ctx, "udp sessions wait for another flow",
			logkey.TunnelID, f.m.Tunnel, logkey.ConnIndex, int(f.m.Index), logkey.Sessions, n)
	}
	for s := range f.sessions {
		delete(f.sessions, s)
		s.leaveLocked(t.cfg.OrphanTimeout)
	}
}

// abandon ends a session that is still an orphan.
func (t *Table) abandon(s *session, waited time.Duration) {
	if s.orphan.Load() {
		t.end(s, "no worker for "+waited.String(), false)
	}
}

// lookup finds a session.
func (t *Table) lookup(k key) *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.sessions[k]
}

// payload sends a datagram to the origin. For an unknown session the worker gets UNKNOWN, since it would go on sending
// payloads in vain.
func (t *Table) payload(f *flow, id datagram.ID, p []byte) {
	s := t.lookup(f.key(id))
	if s == nil {
		t.metrics.drop(writeFlowUnknown)
		f.control(&packet.Message{Type: packet.Unknown, ID: id})
		return
	}
	if s.orphan.Load() {
		t.mu.Lock()
		if t.sessions[s.key] == s && s.orphan.Load() {
			s.bindLocked(f, nil)
			t.metrics.migrated.Inc()
		}
		t.mu.Unlock()
	}
	s.send(p)
}

// ping passes an ICMP packet on.
func (t *Table) ping(f *flow, p []byte) {
	if t.deps.Pinger != nil {
		t.deps.Pinger.Ping(p, f.pong)
	}
}

// unregister ends a session because the worker requests it.
func (t *Table) unregister(f *flow, id datagram.ID, text string) {
	s := t.lookup(f.key(id))
	if s == nil {
		return
	}
	t.mu.Lock()
	ended := t.removeLocked(s)
	t.mu.Unlock()
	if ended {
		s.close()
		t.log.Debug("udp session unregistered", logkey.SessionID, id.String(), logkey.Reason, text)
	}
}

// end ends a session for a reason of the proxy, and notifies its worker.
func (t *Table) end(s *session, text string, failed bool) {
	t.mu.Lock()
	f := s.flow
	ended := t.removeLocked(s)
	t.mu.Unlock()
	if !ended {
		return
	}
	s.close()
	if failed {
		t.metrics.failed.Inc()
	}
	if f != nil {
		f.control(&packet.Message{Type: packet.Ended, ID: s.key.id, Text: text})
	}
	t.log.Debug("udp session ended", logkey.SessionID, s.key.id.String(), logkey.Dest, s.dest, logkey.Reason, text)
}

// removeLocked takes a session out; it reports false when that was done before. The caller closes the session.
func (t *Table) removeLocked(s *session) bool {
	if t.sessions[s.key] != s {
		return false
	}
	delete(t.sessions, s.key)
	if s.flow != nil {
		delete(s.flow.sessions, s)
	}
	return true
}

// register makes, moves or replaces a session, and sends the response.
func (t *Table) register(ctx context.Context, f *flow, m *packet.Message) {
	s := t.adopt(f, m)
	if s == nil {
		var (
			result datagram.Result
			err    error
		)
		if s, result, err = t.open(ctx, f, m); err != nil {
			t.refuse(ctx, f, m, result, err)
			return
		}
	}
	if len(m.Data) > 0 {
		s.send(m.Data)
	}
}

// refuse sends the response to a registration that failed.
func (t *Table) refuse(ctx context.Context, f *flow, m *packet.Message, result datagram.Result, err error) {
	if c := t.metrics.refused[result]; c != nil {
		c.Inc()
	}
	text := cause(err)
	if errors.Is(err, ingress.ErrDenied) {
		text = ingress.ErrDenied.Error() // do not disclose the rules
	}
	resp := packet.Message{Type: packet.Registered, ID: m.ID, Result: result, Text: text}
	if !m.WantResult {
		resp.Type = packet.Ended
	}
	f.control(&resp)
	if ok, more := t.faults.Pass(result.String(), time.Now()); ok {
		t.log.WarnContext(ctx, "udp session refused", slog.Any(logkey.Dest, m.Dest), slog.String(logkey.Result, result.String()),
			slog.Any(logkey.Err, err), slog.Any(logkey.Suppressed, more))
	}
}

// response is the response to a registration that succeeded, or nil when none is wanted.
func response(m *packet.Message) *packet.Message {
	if !m.WantResult {
		return nil
	}
	return &packet.Message{Type: packet.Registered, ID: m.ID, Result: datagram.ResultOK}
}

// adopt gives the session of a known id with the same destination, bound to f.
func (t *Table) adopt(f *flow, m *packet.Message) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.sessions[f.key(m.ID)]
	if s == nil || s.dest != m.Dest {
		return nil
	}
	t.adoptLocked(f, s, m)
	return s
}

func (t *Table) adoptLocked(f *flow, s *session, m *packet.Message) {
	if s.flow == f {
		t.metrics.repeated.Inc()
	} else {
		t.metrics.migrated.Inc()
	}
	s.setIdle(m.Idle)
	s.bindLocked(f, response(m))
}

// errClosed says that the table takes no more sessions.
var errClosed = errors.New("proxy stopped")

// open makes a session with a new socket.
func (t *Table) open(ctx context.Context, f *flow, m *packet.Message) (*session, datagram.Result, error) {
	if m.Dest.Port() == 0 {
		return nil, datagram.ResultError, errors.New("destination has no port")
	}
	if t.Sessions() >= t.cfg.MaxSessions {
		return nil, datagram.ResultTooManyFlows, limit.ErrTooMany
	}
	slot, err := t.deps.Limit.Acquire(f.m.Tunnel, limit.UDP)
	if err != nil {
		return nil, datagram.ResultTooManyFlows, err
	}
	conn, err := t.deps.Dialer.DialUDP(ctx, f.m.Tunnel, m.Dest)
	if err != nil {
		slot.Release()
		if errors.Is(err, ingress.ErrDenied) || errors.Is(err, policy.ErrDenied) {
			return nil, datagram.ResultError, err
		}
		return nil, resultOf(err), err
	}
	s := &session{t: t, key: f.key(m.ID), dest: m.Dest, conn: conn, slot: slot}
	s.out.init(conn)
	t.metrics.active.Add(1) // close takes it back
	s.timer = time.AfterFunc(datagram.DefaultIdle, s.expire)
	s.setIdle(m.Idle)
	return t.insert(f, s, m)
}

// insert puts a new session in its place. If another flow was quicker, its session stays and s is closed.
func (t *Table) insert(f *flow, s *session, m *packet.Message) (*session, datagram.Result, error) {
	t.mu.Lock()
	old := t.sessions[s.key]
	switch {
	case t.closed:
		t.mu.Unlock()
		s.close()
		return nil, datagram.ResultError, errClosed
	case old != nil && old.dest == s.dest:
		t.adoptLocked(f, old, m)
		t.mu.Unlock()
		s.close()
		return old, datagram.ResultOK, nil
	case old != nil:
		t.removeLocked(old)
	}
	t.sessions[s.key] = s
	s.bindLocked(f, response(m))
	t.metrics.total.Inc()
	t.wg.Add(1)
	t.mu.Unlock()
	go s.read()
	if old != nil {
		old.close()
	}
	return s, datagram.ResultOK, nil
}

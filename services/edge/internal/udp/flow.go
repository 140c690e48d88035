package udp

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

const (
	// maxKept bounds the payloads of a flow that wait for a connection, and apart from these the sent ones that are remembered.
	maxKept = 256
	// inFlight is the assumed travel time of a payload: one that was sent this long before the peer's last sign of life counts
	// as delivered.
	inFlight = 50 * time.Millisecond
	// hedgeAfter is how long a registration may take before another connection is tried at the same time.
	hedgeAfter = 250 * time.Millisecond
	// retryEvery is the time after which a flow without a connection tries the silent connections again.
	retryEvery = 2 * time.Second
)

// Flow is one UDP flow through a tunnel.
type Flow struct {
	owner   *Flows
	id      datagram.ID
	tunnel  tunnel.ID
	dst     netip.AddrPort
	idle    time.Duration
	deliver func([]byte)
	// used is the time of the last datagram in either direction, in nanoseconds.
	used atomic.Int64
	// heard is the time of the last datagram of the origin, or of the registration, in nanoseconds.
	heard atomic.Int64
	// ctx ends with the flow; its cause is the reason.
	ctx    context.Context //nolint:containedctx // the lifetime of the flow
	cancel context.CancelCauseFunc
	// settled is closed when a connector has accepted the flow, or the flow is over.
	settled chan struct{}
	once    sync.Once

	// mu protects the rest.
	mu   sync.Mutex
	over bool
	// seeking says that a goroutine looks for a connection.
	seeking bool
	// peer is the connection that payloads go to, or nil. home is the connector that has the origin's socket.
	peer *peer
	home tunnel.ConnectorID
	// waiting holds payloads that wait for a connection, in order.
	waiting payloadQueue
	// recent holds payloads that were sent to peer and may not have arrived. If peer turns out to be dead, they are sent again
	// over another connection.
	recent  payloadQueue
	confirm confirmation
}

func newFlow(fs *Flows, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) *Flow {
	f := &Flow{
		owner: fs, id: newID(), tunnel: id, dst: dst, idle: idle, deliver: deliver, seeking: true,
		settled: make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancelCause(fs.ctx)
	f.touch()
	return f
}

// keepWithin sets the budget of the payloads that the flow keeps, before the flow is used.
func (f *Flow) keepWithin(b *budget) { f.waiting.budget, f.recent.budget = b, b }

// Done is closed when the flow is over; Err is the reason.
func (f *Flow) Done() <-chan struct{} { return f.ctx.Done() }

// Err is the reason why the flow is over, or nil.
func (f *Flow) Err() error { return context.Cause(f.ctx) }

func (f *Flow) touch() { f.used.Store(time.Now().UnixNano()) }

func (f *Flow) isIdle(now time.Time) bool {
	return now.UnixNano()-f.used.Load() > int64(f.idle)
}

// Send sends one payload, or keeps it until the flow has a connection. Errors: ErrTooLarge, after which the flow goes on, and
// ErrClosed. Loss on the way is not an error, as with any UDP.
func (f *Flow) Send(b []byte) error {
	now := time.Now().UnixNano()
	f.used.Store(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return ErrClosed
	}
	p := f.peer
	if p == nil || p.isOver() {
		if !f.waiting.add(bytes.Clone(b), now, maxKept) {
			f.owner.metrics.drop(dropNoRoom)
		}
		return nil
	}
	if len(b) > datagram.MaxPayload {
		return f.sendLargeLocked(p, b, now)
	}
	out, payload, err := p.encode(f.id, b)
	if err != nil {
		f.owner.metrics.drop(dropTooLarge)
		return ErrTooLarge
	}
	f.recent.dropBefore(p.lastHeard(now) - int64(inFlight))
	f.rememberLocked(payload, now)
	if p.v3 && f.confirm.isDue(f.heard.Load(), now) {
		p.registerAgain(f)
	}
	p.send(out)
	return nil
}

// sendLargeLocked sends a payload that does not fit into one datagram.
func (f *Flow) sendLargeLocked(p *peer, b []byte, now int64) error {
	payload := bytes.Clone(b)
	parts, err := p.encodeLarge(f.id, payload)
	if err != nil {
		return err
	}
	f.recent.dropBefore(p.lastHeard(now) - int64(inFlight))
	f.rememberLocked(payload, now)
	if p.v3 && f.confirm.isDue(f.heard.Load(), now) {
		p.registerAgain(f)
	}
	for _, part := range parts {
		p.send(part)
	}
	return nil
}

// rememberLocked keeps a payload that is sent to the flow's connection. With maxKept payloads the oldest is dropped; with a budget
// that is used up the new one is not kept.
func (f *Flow) rememberLocked(payload []byte, now int64) {
	if len(f.recent.queue) >= maxKept {
		f.recent.drop(1)
	}
	f.recent.add(payload, now, maxKept)
}

// resendLocked sends the waiting payloads to the flow's new connection.
func (f *Flow) resendLocked() {
	now := time.Now().UnixNano()
	f.recent.clear()
	var again [][]byte
	for _, k := range f.waiting.queue {
		if len(k.b) > datagram.MaxPayload {
			if parts, err := f.peer.encodeLarge(f.id, k.b); err == nil {
				again = append(again, parts...)
				f.rememberLocked(k.b, now)
			}
			continue
		}
		out, payload, err := f.peer.encode(f.id, k.b)
		if err != nil {
			f.owner.metrics.drop(dropTooLarge)
			continue
		}
		again = append(again, out)
		f.rememberLocked(payload, now)
	}
	f.waiting.clear()
	f.peer.sendAgain(again)
}

// Close ends the flow. Idempotent.
func (f *Flow) Close() { f.end(ErrClosed, "closed by the edge") }

// end ends the flow once. text is the reason for the connector, which version 2 has a call for; empty sends nothing.
func (f *Flow) end(err error, text string) {
	f.once.Do(func() {
		f.mu.Lock()
		f.over = true
		p := f.peer
		f.peer = nil
		f.waiting.clear()
		f.recent.clear()
		f.mu.Unlock()
		f.owner.remove(f, p)
		f.cancel(err)
		f.mu.Lock()
		f.settleLocked() // after cancel: Open reads Err when it is settled
		f.mu.Unlock()
		if p != nil && text != "" && !p.v3 {
			f.owner.task(func(ctx context.Context) { p.unregister(ctx, f.id, text) })
		}
	})
}

func (f *Flow) settleLocked() {
	select {
	case <-f.settled:
	default:
		close(f.settled)
	}
}

func (fs *Flows) remove(f *Flow, p *peer) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.flows[f.id] == f {
		delete(fs.flows, f.id)
		fs.releaseLocked(f.tunnel)
		fs.metrics.flows.Dec()
	}
	if p != nil {
		delete(p.flows, f)
	}
}

// attempt is the result of one registration of a flow.
type attempt struct {
	p *peer
	// bundled says that the first waiting payload arrived with the registration.
	bundled bool
	err     error
}

// refused reports whether the connector itself refused the flow.
func (a attempt) refused() bool {
	return errors.Is(a.err, ErrRefused) || errors.Is(a.err, ErrTooManyFlows)
}

// search is the state of seek.
type search struct {
	f *Flow
	// ctx ends with the search, and cancels the attempts that are under way.
	ctx      context.Context //nolint:containedctx // the lifetime of the search
	attempts sync.WaitGroup
	results  chan attempt
	// tried holds the connections that were tried, pending counts those without a result.
	tried   map[*peer]bool
	pending int
	// last is the error of the last attempt that failed.
	last error
	// hedge fires when one more connection may be tried.
	hedge *time.Timer
}

// seek looks for a connection that accepts the flow. After the time wait without one it ends the flow. A connection that does
// not respond within hedgeAfter does not delay the search: the next one is tried at the same time, and the first response decides.
func (f *Flow) seek(wait time.Duration) {
	deadline, retry := time.NewTimer(max(wait, time.Nanosecond)), time.NewTicker(retryEvery)
	defer deadline.Stop()
	defer retry.Stop()
	s := search{f: f, results: make(chan attempt), tried: make(map[*peer]bool), last: ErrNoConnection, hedge: time.NewTimer(0)}
	defer s.hedge.Stop()
	defer s.attempts.Wait()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	s.ctx = ctx
	for {
		p, changed := f.owner.seekFor(f, s.tried)
		if p == nil && s.pending == 0 && wait <= 0 {
			f.end(s.last, "")
			return
		}
		turn := s.hedge.C
		if p == nil {
			turn = nil // the timer stays due until there is a connection to try
		}
		select {
		case <-turn:
			s.try(p)
		case a := <-s.results:
			if s.ends(a) {
				return
			}
		case <-changed: // seekFor finds the new connection, which is not in tried
		case <-retry.C: // silent connections may respond now
			s.retry()
		case <-deadline.C:
			if wait > 0 {
				f.end(s.last, "")
			}
		case <-f.ctx.Done():
			return
		}
	}
}

// try registers the flow on a connection in a goroutine, which sends its result to s.results.
func (s *search) try(p *peer) {
	s.tried[p] = true
	s.pending++
	s.attempts.Go(func() {
		a := attempt{p: p}
		a.bundled, a.err = p.register(s.ctx, s.f)
		select {
		case s.results <- a:
		case <-s.ctx.Done():
		}
	})
	s.hedge.Reset(hedgeAfter)
}

// retry allows all connections to be tried again, once no attempt is pending.
func (s *search) retry() {
	if s.pending == 0 {
		clear(s.tried)
	}
}

// ends reports whether the search is over with the result a.
func (s *search) ends(a attempt) bool {
	s.pending--
	if a.refused() && s.pending > 0 {
		// A connector that gets the registration over a second connection moves the flow there and fails the first request for
		// it. The response over the other connection decides.
		s.last = a.err
		return false
	}
	if s.f.decides(a) {
		return true
	}
	if a.err != nil {
		s.last = a.err
	}
	s.hedge.Reset(0)
	return false
}

// decides binds the flow to the connection of a, or ends it, and reports whether the search is over with that.
func (f *Flow) decides(a attempt) bool {
	switch {
	case a.err == nil && f.owner.bind(f, a.p, a.bundled):
		return true
	case a.err == nil && f.ctx.Err() != nil:
		f.owner.task(func(ctx context.Context) { a.p.unregister(ctx, f.id, "closed by the edge") })
		return true
	case a.refused():
		f.end(a.err, "")
		return true
	default:
		return false
	}
}

// first returns the payload that may travel with the registration, or nil.
func (f *Flow) first() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peer != nil || len(f.waiting.queue) == 0 {
		return nil
	}
	limit := datagram.V3MaxBundled4
	if f.dst.Addr().Is6() {
		limit = datagram.V3MaxBundled6
	}
	if b := f.waiting.queue[0].b; len(b) <= limit {
		return b
	}
	return nil
}

// leave makes a flow of the unreliable connection p look for another one. Until it has one the flow stays with p, unless lost says
// that p no longer delivers anything.
func (f *Flow) leave(p *peer, lost bool) {
	f.mu.Lock()
	if f.over || f.peer != p {
		f.mu.Unlock()
		return
	}
	if lost {
		f.peer = nil
		f.recent.dropBefore(p.lastHeard(time.Now().UnixNano()) - int64(inFlight))
		f.waiting.prepend(&f.recent, maxKept)
	}
	busy := f.seeking
	f.seeking = true
	f.mu.Unlock()
	if !busy {
		f.owner.task(func(context.Context) { f.move(p) })
	}
}

// move looks for a connection other than from.
func (f *Flow) move(from *peer) {
	if !f.needsPeer() {
		// The old one still works. Without another one the flow stays there; attach moves it when a new one is added.
		p, _ := f.owner.seekFor(f, map[*peer]bool{from: true})
		if p != nil {
			if bundled, err := p.register(f.ctx, f); err == nil && f.owner.bind(f, p, bundled) {
				return
			}
		}
		if !f.stopSeeking() {
			return
		}
	}
	f.seek(f.owner.cfg.MoveTimeout)
}

// needsPeer reports whether the flow has no connection.
func (f *Flow) needsPeer() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peer == nil
}

// stopSeeking ends the search if the flow still has a connection. If the connection was lost meanwhile, it reports true: the
// search must go on.
func (f *Flow) stopSeeking() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peer == nil {
		return true
	}
	f.seeking = false
	return false
}

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
	// maxKept is how many payloads of a flow wait for a connection, and how many that were sent are remembered.
	maxKept = 256
	// inFlight is how long before a sign of life of the peer a payload must have been sent to be taken for delivered.
	inFlight = 50 * time.Millisecond
	// hedgeAfter is how long a connection may take to answer before another one is asked besides.
	hedgeAfter = 250 * time.Millisecond
	// retryEvery is how often connections that did not answer are asked again by a flow that has none.
	retryEvery = 2 * time.Second
)

// Flow is one UDP flow through a tunnel.
type Flow struct {
	m       *Manager
	id      datagram.ID
	tunnel  tunnel.ID
	dst     netip.AddrPort
	idle    time.Duration
	deliver func([]byte)
	// used is when the last datagram passed, in nanoseconds.
	used atomic.Int64
	// ctx ends with the flow, and its cause is why.
	ctx    context.Context //nolint:containedctx // the life of the flow
	cancel context.CancelCauseFunc
	// settled is closed when the first registration was answered or the flow is over.
	settled chan struct{}
	once    sync.Once

	// mu guards the rest.
	mu   sync.Mutex
	over bool
	// seeking says that a goroutine looks for a connection.
	seeking bool
	// peer is where payloads go; nil while there is none. home is the connector that has the socket.
	peer *peer
	home tunnel.ConnectorID
	// waiting holds payloads for which there is no connection yet, in order.
	waiting keeping
	// recent holds payloads that were sent to peer and may not have arrived: if it turns out to be dead, they are sent
	// again elsewhere.
	recent keeping
}

func newFlow(m *Manager, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) *Flow {
	f := &Flow{
		m: m, id: newID(), tunnel: id, dst: dst, idle: idle, deliver: deliver, seeking: true,
		settled: make(chan struct{}), waiting: keeping{of: &m.kept}, recent: keeping{of: &m.kept},
	}
	f.ctx, f.cancel = context.WithCancelCause(m.ctx)
	f.touch()
	return f
}

// Done is closed when the flow is over; Err says why.
func (f *Flow) Done() <-chan struct{} { return f.ctx.Done() }

// Err is why the flow is over, or nil.
func (f *Flow) Err() error { return context.Cause(f.ctx) }

func (f *Flow) touch() { f.used.Store(time.Now().UnixNano()) }

func (f *Flow) isIdle(now time.Time) bool {
	return now.UnixNano()-f.used.Load() > int64(f.idle)
}

// Send sends one payload, or keeps it until there is a connection. It returns an error when the payload can never be
// sent; what is lost on the way is lost, as with any UDP.
func (f *Flow) Send(b []byte) error {
	if len(b) > datagram.MaxPayload {
		f.m.metrics.drop(dropTooLarge)
		return ErrTooLarge
	}
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
			f.m.metrics.drop(dropNoRoom)
		}
		return nil
	}
	out, payload, err := p.encode(f.id, b)
	if err != nil {
		f.m.metrics.drop(dropTooLarge)
		return nil
	}
	f.recent.dropBefore(p.lastHeard(now) - int64(inFlight))
	f.rememberLocked(payload, now)
	p.send(out)
	return nil
}

// rememberLocked keeps what is sent to the flow's connection. Beyond the bound of a flow the oldest is forgotten, beyond
// that of all flows what is new.
func (f *Flow) rememberLocked(payload []byte, now int64) {
	if len(f.recent.queue) >= maxKept {
		f.recent.drop(1)
	}
	f.recent.add(payload, now, maxKept)
}

// resendLocked sends what waits to the flow's new connection.
func (f *Flow) resendLocked() {
	now := time.Now().UnixNano()
	f.recent.clear()
	var again [][]byte
	for _, k := range f.waiting.queue {
		out, payload, err := f.peer.encode(f.id, k.b)
		if err != nil {
			f.m.metrics.drop(dropTooLarge)
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

// end ends the flow once. text is for the connector, where the version has a word for it; empty says nothing.
func (f *Flow) end(err error, text string) {
	f.once.Do(func() {
		f.mu.Lock()
		f.over = true
		p := f.peer
		f.peer = nil
		f.waiting.clear()
		f.recent.clear()
		f.mu.Unlock()
		f.m.remove(f, p)
		f.cancel(err)
		f.mu.Lock()
		f.settleLocked() // last: who waits for it asks Err
		f.mu.Unlock()
		if p != nil && text != "" && !p.v3 {
			f.m.task(func(ctx context.Context) { p.unregister(ctx, f.id, text) })
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

func (m *Manager) remove(f *Flow, p *peer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flows[f.id] == f {
		delete(m.flows, f.id)
		m.metrics.flows.Dec()
	}
	if p != nil {
		delete(p.flows, f)
	}
}

// attempt is what came of asking a connection for a flow.
type attempt struct {
	p *peer
	// bundled says that the first payload that waits arrived with the registration.
	bundled bool
	err     error
}

// refused reports whether the connector itself refused the flow.
func (a attempt) refused() bool {
	return errors.Is(a.err, ErrRefused) || errors.Is(a.err, ErrTooManyFlows)
}

// search is what seek knows.
type search struct {
	f *Flow
	// ctx ends with the search, and ends what still asks then.
	ctx     context.Context //nolint:containedctx // the life of the search
	asking  sync.WaitGroup
	answers chan attempt
	// tried are those that were asked, asked is how many of them have not answered.
	tried map[*peer]bool
	asked int
	// last is why the last one that answered did not take the flow.
	last error
	// hedge fires when one more may be asked.
	hedge *time.Timer
}

// seek finds a connection that takes the flow. It looks for one no longer than wait, then the flow is over. A connection
// that does not answer soon does not hold up the search: the next one is asked as well, and the first answer decides.
func (f *Flow) seek(wait time.Duration) {
	deadline, retry := time.NewTimer(max(wait, time.Nanosecond)), time.NewTicker(retryEvery)
	defer deadline.Stop()
	defer retry.Stop()
	s := search{f: f, answers: make(chan attempt), tried: make(map[*peer]bool), last: ErrNoConnection, hedge: time.NewTimer(0)}
	defer s.hedge.Stop()
	defer s.asking.Wait()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	s.ctx = ctx
	for {
		p, changed := f.m.seekFor(f, s.tried)
		if p == nil && s.asked == 0 && wait <= 0 {
			f.end(s.last, "")
			return
		}
		turn := s.hedge.C
		if p == nil {
			turn = nil // it stays due until there is somebody to ask
		}
		select {
		case <-turn:
			s.ask(p)
		case a := <-s.answers:
			if s.ends(a) {
				return
			}
		case <-changed: // what came is not in tried
		case <-retry.C: // those that did not answer may do so now
			s.again()
		case <-deadline.C:
			if wait > 0 {
				f.end(s.last, "")
			}
		case <-f.ctx.Done():
			return
		}
	}
}

func (s *search) ask(p *peer) {
	s.tried[p] = true
	s.asked++
	s.asking.Go(func() {
		a := attempt{p: p}
		a.bundled, a.err = p.register(s.ctx, s.f)
		select {
		case s.answers <- a:
		case <-s.ctx.Done():
		}
	})
	s.hedge.Reset(hedgeAfter)
}

// again lets all be asked once more, when nobody has anything to answer any more.
func (s *search) again() {
	if s.asked == 0 {
		clear(s.tried)
	}
}

// ends reports whether the search is over with an answer.
func (s *search) ends(a attempt) bool {
	s.asked--
	if a.refused() && s.asked > 0 {
		// A connector that is asked over a second connection moves the flow there and fails the first request for it. The
		// response over the other connection decides.
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

// decides reports whether the search is over with the answer a.
func (f *Flow) decides(a attempt) bool {
	switch {
	case a.err == nil && f.m.bind(f, a.p, a.bundled):
		return true
	case a.err == nil && f.ctx.Err() != nil:
		f.m.task(func(ctx context.Context) { a.p.unregister(ctx, f.id, "closed by the edge") })
		return true
	case a.refused():
		f.end(a.err, "")
		return true
	default:
		return false
	}
}

// first is the payload that may travel with the registration, or nil.
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

// leave is called when the connection p cannot be relied on: lost says that nothing reaches it any more. The flow looks
// for another one; until it has that, it goes on with p unless p is lost.
func (f *Flow) leave(p *peer, lost bool) {
	f.mu.Lock()
	if f.over || f.peer != p {
		f.mu.Unlock()
		return
	}
	if lost {
		f.peer = nil
		f.recent.dropBefore(p.lastHeard(time.Now().UnixNano()) - int64(inFlight))
		f.waiting.takeFrom(&f.recent, maxKept)
	}
	busy := f.seeking
	f.seeking = true
	f.mu.Unlock()
	if !busy {
		f.m.task(func(context.Context) { f.move(p) })
	}
}

// move seeks another connection than from.
func (f *Flow) move(from *peer) {
	if !f.needs() {
		// The old one still works. Without another one the flow stays there; the next one that comes moves it.
		p, _ := f.m.seekFor(f, map[*peer]bool{from: true})
		if p != nil {
			if bundled, err := p.register(f.ctx, f); err == nil && f.m.bind(f, p, bundled) {
				return
			}
		}
		if !f.stops() {
			return
		}
	}
	f.seek(f.m.cfg.MoveTimeout)
}

// needs reports whether the flow has no connection.
func (f *Flow) needs() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peer == nil
}

// stops ends the search if the flow still has a connection; otherwise that was lost meanwhile, and it reports true.
func (f *Flow) stops() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peer == nil {
		return true
	}
	f.seeking = false
	return false
}

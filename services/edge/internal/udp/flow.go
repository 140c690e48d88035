package udp

import (
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
	// maxKept is how many payloads wait for a connection, and how many sent into a silence are remembered.
	maxKept = 64
	// silence is how long a connection may say nothing before payloads for it are remembered.
	silence = 50 * time.Millisecond
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
	waiting [][]byte
	// recent holds payloads that were sent to peer since it spoke last, at the time since.
	recent [][]byte
	since  int64
}

func newFlow(m *Manager, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) *Flow {
	f := &Flow{
		m: m, id: newID(), tunnel: id, dst: dst, idle: idle, deliver: deliver, seeking: true,
		settled: make(chan struct{}),
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
	f.touch()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return ErrClosed
	}
	p := f.peer
	if p == nil || p.isOver() {
		if len(f.waiting) >= maxKept {
			f.m.metrics.drop(dropNoRoom)
			return nil
		}
		f.waiting = append(f.waiting, append([]byte(nil), b...))
		return nil
	}
	f.rememberLocked(p, b)
	f.sendLocked(p, b)
	return nil
}

// rememberLocked keeps what is sent to a connection that has been silent for a while: if it turns out to be dead, the
// payload is sent again elsewhere.
func (f *Flow) rememberLocked(p *peer, b []byte) {
	heard := p.heard.Load()
	if heard != f.since {
		f.recent, f.since = nil, heard
	}
	if time.Now().UnixNano()-heard < int64(silence) {
		return
	}
	if len(f.recent) >= maxKept {
		f.recent = append(f.recent[:0], f.recent[1:]...)
	}
	f.recent = append(f.recent, append([]byte(nil), b...))
}

func (f *Flow) sendLocked(p *peer, b []byte) {
	if !p.v3 {
		p.send(datagram.AppendV2UDP(nil, f.id, b))
		return
	}
	out, err := datagram.AppendPayload(nil, f.id, b)
	if err != nil {
		f.m.metrics.drop(dropTooLarge)
		return
	}
	p.send(out)
}

// Close ends the flow. Idempotent.
func (f *Flow) Close() { f.end(ErrClosed, "closed by the edge") }

// end ends the flow once. text is for the connector, where the version has a word for it; empty says nothing.
func (f *Flow) end(err error, text string) {
	f.once.Do(func() {
		f.mu.Lock()
		f.over = true
		p := f.peer
		f.peer, f.waiting, f.recent = nil, nil, nil
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

// seek finds a connection that takes the flow. It looks for one no longer than wait, then the flow is over.
func (f *Flow) seek(wait time.Duration) {
	deadline, retry := time.NewTimer(max(wait, time.Nanosecond)), time.NewTicker(retryEvery)
	defer deadline.Stop()
	defer retry.Stop()
	tried := map[*peer]bool{}
	last := ErrNoConnection
	for f.ctx.Err() == nil {
		p, changed := f.m.seekFor(f, tried)
		if p != nil {
			tried[p] = true
			err := p.register(f.ctx, f)
			switch {
			case err == nil && f.m.bind(f, p):
				return
			case err == nil && f.ctx.Err() != nil:
				f.m.task(func(ctx context.Context) { p.unregister(ctx, f.id, "closed by the edge") })
			case errors.Is(err, ErrRefused), errors.Is(err, ErrTooManyFlows):
				f.end(err, "")
			case err != nil:
				last = err
			}
			continue
		}
		if wait <= 0 {
			f.end(last, "")
			return
		}
		select {
		case <-changed:
		case <-retry.C: // those that did not answer may do so now
		case <-deadline.C:
			f.end(last, "")
		case <-f.ctx.Done():
		}
		clear(tried)
	}
}

// first is the payload that may travel with the registration, or nil.
func (f *Flow) first() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peer != nil || len(f.waiting) == 0 {
		return nil
	}
	limit := datagram.V3MaxBundled4
	if f.dst.Addr().Is6() {
		limit = datagram.V3MaxBundled6
	}
	if len(f.waiting[0]) > limit {
		return nil
	}
	return f.waiting[0]
}

// sentFirst takes the payload off that the connector has got with the registration.
func (f *Flow) sentFirst() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) > 0 {
		f.waiting = f.waiting[1:]
	}
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
		if f.since == p.heard.Load() {
			f.waiting = append(f.recent, f.waiting...)
			f.waiting = f.waiting[max(0, len(f.waiting)-maxKept):]
		}
		f.recent = nil
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
		if p != nil && p.register(f.ctx, f) == nil && f.m.bind(f, p) || !f.stops() {
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

package udp

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// Sizes of a flow's buffers.
const (
	// controlReserve is what responses to registrations and ends of sessions may take of the queue beyond its limit.
	controlReserve = 64 << 10
	// keepBuffer is the largest buffer that a flow keeps while it has nothing to send.
	keepBuffer = 128 << 10
)

// flow is one worker session's stream of messages.
type flow struct {
	t *Table
	m link.Meta
	s link.Stream
	// cancel aborts the flow.
	cancel context.CancelFunc
	// pong is the way back of ICMP packets: a method value, made once.
	pong func(packet []byte) bool
	// wake has room for one token, which says that there is something in out, or that closing is set.
	wake chan struct{}

	// sessions are those whose way back is this flow. Table.mu guards it.
	sessions map[*session]struct{}

	// mu guards the rest.
	mu      sync.Mutex
	out     []byte // messages that wait for the writer
	closing bool   // nothing is added to out any more
}

func newFlow(t *Table, m link.Meta, s link.Stream, cancel context.CancelFunc) *flow {
	f := &flow{t: t, m: m, s: s, cancel: cancel, wake: make(chan struct{}, 1), sessions: make(map[*session]struct{})}
	f.pong = func(p []byte) bool { return f.push(&packet.Message{Type: packet.ICMP, Data: p}, 0) == pushed }
	return f
}

// pushResult says whether a message was queued.
type pushResult uint8

const (
	pushed pushResult = iota
	full
	gone
)

// push queues a message, unless the queue is full; reserve is what it may take beyond the limit.
func (f *flow) push(m *packet.Message, reserve int) pushResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return gone
	}
	before := len(f.out)
	out, err := m.Append(f.out)
	if err != nil || len(out) > f.t.cfg.QueueBytes+reserve {
		f.out = out[:before]
		return full
	}
	f.out = out
	if before == 0 {
		f.signal()
	}
	return pushed
}

// control queues a message that is no datagram.
func (f *flow) control(m *packet.Message) { f.push(m, controlReserve) }

func (f *flow) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// finish lets the writer send what waits, and FIN.
func (f *flow) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	f.signal()
}

// take gives what waits, and takes an empty buffer for it.
func (f *flow) take(empty []byte) (out []byte, closing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out, f.out = f.out, empty[:0]
	return out, f.closing
}

// write sends messages, as many at a time as wait, until the flow finishes or fails.
func (f *flow) write(ctx context.Context) {
	var spare []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		out, closing := f.take(spare)
		if len(out) > 0 {
			if _, err := f.s.Write(out); err != nil {
				f.s.Abort()
				return
			}
		}
		if closing {
			_ = f.s.CloseWrite() // the worker has left, or will see
			return
		}
		if spare = out; cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

// errCut says that the stream ended within a message.
var errCut = errors.New("flow ended within a message")

// read takes the worker's messages until its FIN, which is no error.
func (f *flow) read(ctx context.Context) error {
	var (
		r packet.Reader
		m packet.Message
	)
	for {
		n, err := f.s.Read(r.Space())
		r.Add(n)
		for {
			ok, perr := r.Next(&m)
			if perr != nil {
				f.t.metrics.flowErrors.Inc()
				return perr
			}
			if !ok {
				break
			}
			f.handle(ctx, &m)
		}
		if err == io.EOF { //nolint:errorlint // only the bare value is FIN; an error that wraps it is an abort
			if r.Partial() {
				return errCut
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// handle executes a message.
func (f *flow) handle(ctx context.Context, m *packet.Message) {
	switch m.Type {
	case packet.Payload:
		f.t.payload(f, m.ID, m.Data)
	case packet.Register:
		f.t.register(ctx, f, m)
	case packet.Unregister:
		f.t.unregister(f, m.ID, m.Text)
	case packet.ICMP:
		f.t.ping(f, m.Data)
	default:
		f.t.metrics.unknownTypes.Inc()
	}
}

// ServeStream serves one datagram flow to its end. Its sessions then wait for another flow.
func (t *Table) ServeStream(ctx context.Context, m link.Meta, s link.Stream) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFlow(t, m, s, cancel)
	if !t.add(f) {
		s.Abort()
		return
	}
	defer t.wg.Done()
	defer abortWith(ctx, s)()
	var writer sync.WaitGroup
	writer.Go(func() { f.write(ctx) })
	err := f.read(ctx)
	if err != nil {
		s.Abort() // ahead of the writer's FIN, which says that all is well
		t.log.DebugContext(ctx, "datagram flow ended", logkey.TunnelID, m.Tunnel, logkey.ConnIndex, int(m.Index), logkey.Err, err)
	} else {
		defer time.AfterFunc(endTime, cancel).Stop() // ends a writer that waits
	}
	f.finish()
	t.orphan(ctx, f)
	writer.Wait()
}

// abortWith aborts s when ctx ends, which by itself ends no read and no write. The function that it gives ends that, and
// waits for an abort that has begun.
func abortWith(ctx context.Context, s link.Stream) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		s.Abort()
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// key names a session among those of all tunnels.
type key struct {
	tunnel    [16]byte
	connector [16]byte
	id        datagram.ID
}

func (f *flow) key(id datagram.ID) key {
	return key{tunnel: f.m.Tunnel, connector: f.m.Connector, id: id}
}

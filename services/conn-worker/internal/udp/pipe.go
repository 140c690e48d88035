package udp

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
)

var errOver = errors.New("flow is over")

// pipe is the edge stream of a flow of messages: what a carrier reads from it are messages for the proxy, what it writes
// are messages of the proxy.
type pipe struct {
	ctx    context.Context //nolint:containedctx // the life of the stream, which the carrier asks for
	cancel context.CancelCauseFunc
	limit  int
	// take gets each message of the proxy; its Data is valid during the call. It is called by one goroutine at a time.
	take func(*packet.Message)

	// in and message belong to Write.
	in      packet.Reader
	message packet.Message

	// mu guards the rest.
	mu    sync.Mutex
	wake  sync.Cond
	queue []byte
	read  int  // what is read of queue
	eof   bool // nothing is put any more
	err   error
}

var _ link.EdgeStream = (*pipe)(nil)

func newPipe(ctx context.Context, limit int, take func(*packet.Message)) *pipe {
	p := &pipe{limit: limit, take: take}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.wake.L = &p.mu
	return p
}

// put queues a message for the proxy, and reports whether it did: there must be room, and the message must be encodable.
// Messages that register or end sessions may use reserved room.
func (p *pipe) put(m *packet.Message, word bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.limit
	if word {
		limit *= 2
	}
	if p.err != nil || p.eof || len(p.queue)-p.read >= limit {
		return false
	}
	if p.read > 0 && p.read >= len(p.queue)/2 {
		p.queue = p.queue[:copy(p.queue, p.queue[p.read:])]
		p.read = 0
	}
	b, err := m.Append(p.queue)
	if err != nil {
		return false
	}
	p.queue = b
	p.wake.Signal()
	return true
}

// finish ends the messages for the proxy in order.
func (p *pipe) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eof = true
	p.wake.Signal()
}

// fail ends both directions.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	p.queue, p.read = nil, 0
	p.wake.Broadcast()
	p.mu.Unlock()
	p.cancel(err)
}

// Read gives messages, several at once where they wait.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && p.read == len(p.queue) && !p.eof {
		p.wake.Wait()
	}
	switch {
	case p.err != nil:
		return 0, p.err
	case p.read == len(p.queue):
		return 0, io.EOF
	}
	n := copy(b, p.queue[p.read:])
	p.read += n
	if p.read == len(p.queue) {
		p.queue, p.read = p.queue[:0], 0
		if cap(p.queue) > keepQueue {
			p.queue = nil
		}
	}
	return n, nil
}

// keepQueue is how large a queue may be to be kept while it is empty.
const keepQueue = 64 << 10

// Write takes bytes of the proxy and passes each message on as soon as it is complete.
func (p *pipe) Write(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	for rest := b; len(rest) > 0; {
		n := copy(p.in.Space(), rest)
		p.in.Add(n)
		rest = rest[n:]
		for {
			ok, err := p.in.Next(&p.message)
			if err != nil {
				p.fail(err)
				return 0, err
			}
			if !ok {
				break
			}
			p.take(&p.message)
		}
	}
	return len(b), nil
}

// CloseWrite is the proxy's end of the flow.
func (p *pipe) CloseWrite() error {
	p.finish()
	return nil
}

// CancelRead makes Read fail.
func (p *pipe) CancelRead(uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = errOver
	}
	p.wake.Broadcast()
}

// CancelWrite is called by the carrier when the flow is lost.
func (p *pipe) CancelWrite(uint64) { p.fail(errOver) }

// Context ends when the session to the edge does, or the flow is given up.
func (p *pipe) Context() context.Context { return p.ctx }

package link

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// States of a pump. From pumpRuns it goes to pumpAwaited, if the reader of the response has to wait for it, or to pumpEnded.
const (
	pumpRuns int32 = iota
	pumpAwaited
	pumpEnded
)

// pump sends the rest of a request while the response is read.
type pump struct {
	c    *clientConn
	edge EdgeStream
	done chan struct{}
	// state decides whether the pump has to wake the reader of the response.
	state atomic.Int32
	// stopped says that the proxy sent STOP.
	stopped atomic.Bool
	// err is read after done is closed, readErr also after edgeFailed is true.
	err, readErr error
	edgeFailed   atomic.Bool
	// onlyFIN says that the edge sent FIN and nothing before it.
	onlyFIN atomic.Bool
}

func newPump(c *clientConn, edge EdgeStream, rest []byte, eof bool) *pump {
	p := &pump{c: c, edge: edge, done: make(chan struct{})}
	go p.run(rest, eof)
	return p
}

func (p *pump) run(rest []byte, eof bool) {
	defer p.finish()
	id, bufs := p.c.id, p.c.fr.bufs
	out := bufs.get(smallBuffer)
	defer func() { bufs.put(out) }()
	out.w = frame.HeaderSize
	if len(rest) > 0 {
		if out, p.err = p.send(out, id, rest, eof); p.err != nil || eof {
			return
		}
	}
	for first := true; ; first = false {
		n, err := p.edge.Read(out.b[frame.HeaderSize:])
		fin := err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
		p.onlyFIN.Store(first && fin && n == 0)
		if err != nil && !fin {
			if !p.stopped.Load() {
				p.readErr = err
				p.edgeFailed.Store(true)
				p.c.close()
				return
			}
			fin = true // the proxy sent STOP
		}
		full := n == len(out.b)-frame.HeaderSize
		out.w = frame.HeaderSize + n
		if n > 0 || fin {
			out, p.err = p.send(out, id, nil, fin)
		}
		if fin || p.err != nil {
			return
		}
		if full && len(out.b) < largeBuffer {
			out = bufs.grow(out)
		}
	}
}

func (p *pump) send(out *buffer, id uint32, b []byte, fin bool) (*buffer, error) {
	p.c.fw.mu.Lock()
	defer p.c.fw.mu.Unlock()
	return p.c.fw.sendLocked(p.c.fr.bufs, out, id, b, fin)
}

// finish wakes the reader of the response if it waits for the pump.
func (p *pump) finish() {
	if !p.state.CompareAndSwap(pumpRuns, pumpEnded) {
		_ = p.c.fr.nc.SetReadDeadline(past()) // a closed connection wakes it as well
	}
	close(p.done)
}

// stop makes the pump end with FIN.
func (p *pump) stop() {
	if p == nil {
		return
	}
	p.stopped.Store(true)
	p.edge.CancelRead(0)
}

func (p *pump) wait() {
	if p != nil {
		<-p.done
	}
}

// readOnlyFIN reports whether the edge sent FIN alone. If so, it waits for the pump, which reads no more.
func (p *pump) readOnlyFIN() bool {
	if p == nil || !p.onlyFIN.Load() {
		return false
	}
	p.wait()
	return true
}

// result is the pump's error once it is done.
func (p *pump) result() error {
	switch {
	case p == nil:
		return nil
	case p.readErr != nil:
		return p.readErr
	case p.err != nil:
		return fmt.Errorf("%w: %w", ErrLost, p.err)
	default:
		return nil
	}
}

// edgeError is the read error of the edge stream, or nil.
func (p *pump) edgeError() error {
	if p == nil || !p.edgeFailed.Load() {
		return nil
	}
	return p.readErr
}

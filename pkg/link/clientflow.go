package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// clientFlow is one flow on one connection, from the worker's side. If the request is complete, all of it runs on the
// caller's goroutine: one write, then a loop of reads.
type clientFlow struct {
	c    *clientConn
	edge EdgeStream
	// settle reports the first answer, or the lack of it, to the circuit breaker; it is nil afterwards.
	settle func(error)
	// goAway is called when the proxy says that it will leave: at once, as this flow may go on for long.
	goAway func()

	answered bool // a frame of this flow came
	replied  bool // FIN came and was passed on
	edgeErr  error

	// pump is nil if the request was complete.
	pump *pump
}

// attempt is the result of running a flow on one connection. A flow that was not taken may be tried on another proxy.
type attempt struct {
	err      error
	notTaken bool
	// lost says that the connection was lost before any response, and that Flow.First holds the whole request. The edge
	// stream is as it was.
	lost     bool
	reusable bool
}

// run carries f. It leaves the edge stream alone when the flow was not taken.
func (x *clientFlow) run(ctx context.Context, f *Flow) attempt {
	c := x.c
	c.giveUp.start(ctx, f.Stream)
	taken, accepted, err := c.start(f)
	if err != nil && !accepted {
		cause := c.giveUp.stop()
		if cause != nil {
			return x.abort(fmt.Errorf("%w: %w", ErrEdge, cause))
		}
		return attempt{err: fmt.Errorf("link write: %w", err), notTaken: true}
	}
	rest := f.First[taken:]
	whole := err == nil && f.EOF && len(rest) == 0
	if err == nil && !whole {
		x.pump = newPump(c, f.Stream, rest, f.EOF)
	}
	if err != nil {
		return x.fail(f, fmt.Errorf("%w: %w", ErrLost, err), false)
	}
	if c.fr.in == nil {
		c.fr.in = c.fr.bufs.get(smallBuffer)
	}
	if err = x.answer(); err == nil {
		return x.end()
	}
	unread := whole && !x.answered && taken < unreadLimit && c.isUnread(err)
	return x.fail(f, err, unread)
}

// fail ends a flow after err. It leaves the edge stream alone if the flow may go to another proxy.
func (x *clientFlow) fail(f *Flow, err error, unread bool) attempt {
	err = x.failed(err)
	switch {
	case x.answered || !errors.Is(err, ErrLost):
	case unread:
		return attempt{err: err, notTaken: true}
	case f.Meta.Kind == KindStream && x.hasWholeRequest(f):
		return attempt{err: err, lost: true}
	}
	return x.abort(err)
}

// hasWholeRequest reports whether f.First is all that the edge sends. The connection must be closed: that ends a pump
// that only sends the rest of f.First.
func (x *clientFlow) hasWholeRequest(f *Flow) bool {
	if f.EOF {
		x.pump.wait()
		return true
	}
	return x.pump.readOnlyFIN()
}

// unreadLimit is how much one read of the proxy takes for certain, so that "some bytes unread" means all of them.
const unreadLimit = smallBuffer / 2

// maxStreamID is where a connection is replaced, long before its ids run out.
const maxStreamID = 1 << 31

// end finishes a flow whose two directions ended.
func (x *clientFlow) end() attempt {
	gaveUp := x.c.giveUp.stop() != nil // too late: all was said
	return attempt{reusable: !gaveUp && !x.c.goAway && x.c.id < maxStreamID && x.c.fr.buffered() == 0}
}

// failed names the reason of an error of answer.
func (x *clientFlow) failed(err error) error {
	c := x.c
	c.close() // the proxy sees the hang-up, our own pump fails
	switch cause := c.giveUp.stop(); {
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrEdge, cause)
	case x.edgeErr != nil:
		return fmt.Errorf("%w: %w", ErrEdge, x.edgeErr)
	}
	if perr := x.pump.edgeError(); perr != nil {
		return fmt.Errorf("%w: %w", ErrEdge, perr)
	}
	return err
}

// abort ends the edge stream in disorder, and waits for the pump.
func (x *clientFlow) abort(err error) attempt {
	if !x.replied {
		x.edge.CancelWrite(0) // after FIN it could still cut the answer short
	}
	x.edge.CancelRead(0)
	x.c.close()
	x.pump.wait()
	return attempt{err: err}
}

// answer passes the proxy's frames on until both directions have ended.
func (x *clientFlow) answer() error {
	for waiting := false; ; {
		h, err := x.c.fr.header()
		if err != nil {
			if waiting && isTimeout(err) {
				return x.resume()
			}
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		if err := x.handle(h); err != nil {
			return err
		}
		if !x.replied || waiting {
			continue
		}
		if x.pump == nil || !x.pump.state.CompareAndSwap(pumpRuns, pumpAwaited) {
			x.pump.wait()
			return x.pump.result()
		}
		waiting = true // for the pump, or for STOP
	}
}

// resume clears the deadline with which the pump woke us.
func (x *clientFlow) resume() error {
	x.pump.wait()
	if err := x.c.fr.nc.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return x.pump.result()
}

func (x *clientFlow) handle(h frame.Header) error {
	switch h.Type {
	case frame.Data:
		if h.Stream != x.c.id || x.replied {
			return fmt.Errorf("%w: %w", ErrLost, protocolError(h))
		}
		return x.data(h)
	case frame.Reset, frame.Stop:
		if _, err := x.c.fr.payload(h); err != nil {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		if h.Stream != x.c.id {
			return nil // late word about a flow that is over
		}
		x.answered = true
		x.settled()
		if h.Type == frame.Reset {
			return ErrReset
		}
		x.pump.stop()
		return nil
	case frame.GoAway:
		x.c.goAway = true
		x.goAway()
		if _, err := x.c.fr.payload(h); err != nil {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		return nil
	case frame.Ping:
		return x.pong(h)
	default:
		return fmt.Errorf("%w: %w", ErrLost, protocolError(h))
	}
}

// settled reports to the breaker that the proxy works.
func (x *clientFlow) settled() {
	if x.settle != nil {
		x.settle(nil)
		x.settle = nil
	}
}

func (x *clientFlow) pong(h frame.Header) error {
	p, err := x.c.fr.payload(h)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	token, err := frame.ParsePing(p)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err := x.c.fw.writeFrame(frame.AppendPing(nil, frame.Pong, token)); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return nil
}

// data writes the payload of a frame to the edge stream as it comes, in slices of the read buffer.
func (x *clientFlow) data(h frame.Header) error {
	x.answered = true
	x.settled()
	fr := &x.c.fr
	for left := int(h.Length); left > 0; {
		if fr.buffered() == 0 {
			if err := fr.fill(); err != nil {
				return fmt.Errorf("%w: %w", ErrLost, err)
			}
			continue
		}
		n := min(left, fr.buffered())
		if _, err := x.edge.Write(fr.in.b[fr.in.r : fr.in.r+n]); err != nil {
			x.edgeErr = err
			return err
		}
		fr.in.r += n
		left -= n
	}
	if !h.FIN() {
		return nil
	}
	if !x.c.giveUp.answer() {
		return ErrEdge
	}
	if err := x.edge.CloseWrite(); err != nil {
		x.edgeErr = err
		return err
	}
	x.replied = true
	return nil
}

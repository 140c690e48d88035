package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// clientFlow is the worker's side of one flow on one connection. If the request is complete, the flow runs on the caller's
// goroutine alone: one write, then a loop of reads.
type clientFlow struct {
	c    *clientConn
	edge EdgeStream
	// settle reports to the circuit breaker whether a response began. It is nil after that.
	settle func(error)
	// goAway is called as soon as GOAWAY comes, because this flow may go on for long.
	goAway func()

	responded bool // a frame of this flow came
	replied   bool // FIN came and was forwarded
	edgeErr   error

	// pump is nil if the request was complete.
	pump *pump
}

// attempt is the result of running a flow on one connection. If notTaken is set, the flow may run on another proxy.
type attempt struct {
	err      error
	notTaken bool
	// lost says that the connection was lost before any response, and that Flow.First holds the whole request. The edge
	// stream is as it was.
	lost     bool
	reusable bool
}

// run carries f. It does not touch the edge stream if the result is notTaken or lost.
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
	if err = x.forward(); err == nil {
		return x.end()
	}
	unread := whole && !x.responded && taken < unreadLimit && c.isUnread(err)
	return x.fail(f, err, unread)
}

// fail ends a flow after err. It leaves the edge stream alone if the flow may go to another proxy.
func (x *clientFlow) fail(f *Flow, err error, unread bool) attempt {
	err = x.failed(err)
	switch {
	case x.responded || !errors.Is(err, ErrLost):
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

// unreadLimit is less than one read of the proxy takes. If bytes of a shorter request are unread, then all of them are.
const unreadLimit = smallBuffer / 2

// maxStreamID is the id after which a connection is replaced, long before its ids run out.
const maxStreamID = 1 << 31

// end finishes a flow whose two directions ended.
func (x *clientFlow) end() attempt {
	gaveUp := x.c.giveUp.stop() != nil // both directions had ended, so only the connection is lost
	return attempt{reusable: !gaveUp && !x.c.goAway && x.c.id < maxStreamID && x.c.fr.buffered() == 0}
}

// failed closes the connection and returns err, or ErrEdge if the edge caused it.
func (x *clientFlow) failed(err error) error {
	c := x.c
	c.close() // ends the handler's context at the proxy, and our pump
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

// abort resets the edge stream, and waits for the pump.
func (x *clientFlow) abort(err error) attempt {
	if !x.replied {
		x.edge.CancelWrite(0) // after FIN it could still truncate the response
	}
	x.edge.CancelRead(0)
	x.c.close()
	x.pump.wait()
	return attempt{err: err}
}

// forward passes the response to the edge until both directions have ended.
func (x *clientFlow) forward() error {
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

// resume clears the deadline that the pump set to end the pending read.
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
			return nil // about an earlier flow
		}
		x.responded = true
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

// settled reports a success to the breaker.
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

// data writes the payload of a frame to the edge stream as it arrives, in slices of the read buffer.
func (x *clientFlow) data(h frame.Header) error {
	x.responded = true
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
	if !x.c.giveUp.beforeFIN() {
		return ErrEdge
	}
	if err := x.edge.CloseWrite(); err != nil {
		x.edgeErr = err
		return err
	}
	x.replied = true
	return nil
}

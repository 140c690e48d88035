package ports

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// lingerTimeout is how long the edge reads and discards bytes that the visitor still sends: to close with unread bytes would be a
// reset, which could destroy the last bytes on their way to the visitor.
const lingerTimeout = 2 * time.Second

// duplex carries the bytes of one visitor in both directions.
type duplex struct {
	*visitor
	st        *tunnelEnd
	conn      *registry.Conn
	halfClose bool // the connector goes on sending after FIN
	codec     codec
	idle      idleTimer
	backlog   *backlog.Response
	in, out   int64

	mu     sync.Mutex // guards the fields below
	cause  error      // why it was aborted, or nil
	ending ending
	// upEnded and downEnded say that a direction has ended by FIN.
	upEnded, downEnded bool
}

// codec writes the bytes to the stream and reads them back: as they are, or in WebSocket messages.
type codec interface {
	// room returns how many bytes before the payload belong to the codec, and the largest payload of one send.
	room() (front, most int)
	// send sends the payload behind the room in b.
	send(b []byte) error
	// end tells the connector that nothing more follows.
	end() error
	// receive passes the payload among bytes of the stream to f. It returns io.EOF when no payload can follow.
	receive(b []byte, f func([]byte) error) error
	// ended returns an error when the stream has ended within a message.
	ended() error
}

func newDuplex(v *visitor, st *tunnelEnd, conn *registry.Conn) *duplex {
	d := &duplex{visitor: v, st: st, conn: conn, halfClose: conn.HalfClose(), ending: ended}
	d.codec = plain{st}
	if st.websocket {
		d.codec = newMessages(st, d.halfClose)
	}
	return d
}

// errStopped is the cause of an abort because the edge stops.
var errStopped = errors.New("the edge stops")

// run returns when both directions have ended.
func (d *duplex) run(ctx context.Context) (ending, error) {
	unhook := context.AfterFunc(ctx, func() { d.abort(stopped, errStopped) })
	defer unhook()
	defer d.idle.stop()
	d.rearm()
	var down sync.WaitGroup
	down.Go(d.down)
	d.up()
	down.Wait()
	if m, ok := d.codec.(*messages); ok {
		m.wait()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause == nil {
		d.st.CancelRead(transport.NoError) // no effect after its end
		_ = d.st.CloseWrite()              // fails only on a dead stream
		_ = d.tcp.Close()                  // both directions have ended
	}
	return d.ending, d.cause
}

// abort resets both sides, once.
func (d *duplex) abort(e ending, cause error) {
	d.mu.Lock()
	first := d.cause == nil
	if first {
		d.cause, d.ending = cause, e
	}
	d.mu.Unlock()
	if first {
		transport.Abort(d.st)
		reset(d.tcp)
	}
}

// errSilent is the cause of an abort by the idle timeout.
var errSilent = errors.New("idle timeout: no bytes in either direction")

// errStalled is the cause of an abort by package backlog.
var errStalled = errors.New("the visitor reads nothing and fills the window of the connection")

// rearm sets the idle timeout for the current state.
func (d *duplex) rearm() {
	limit := d.port.Target.Idle
	if limit == 0 {
		limit = d.cfg.IdleTimeout
	}
	d.mu.Lock()
	half := d.upEnded != d.downEnded
	d.mu.Unlock()
	if half && (limit == 0 || limit > d.cfg.HalfCloseTimeout) {
		limit = d.cfg.HalfCloseTimeout
	}
	d.idle.set(limit, func() { d.abort(idle, errSilent) })
}

// up carries the visitor's bytes to the connector.
func (d *duplex) up() {
	buf := d.buffers.Buffer()
	defer buf.Free()
	if len(d.st.preface) > 0 {
		front, _ := d.codec.room()
		if err := d.codec.send(append(make([]byte, front), d.st.preface...)); err != nil {
			d.upFailed(err)
			return
		}
	}
	for {
		b := buf.Next()
		front, most := d.codec.room()
		n, err := d.tcp.Read(b[front:min(len(b), front+most)])
		buf.Took(n)
		if n > 0 {
			d.in += int64(n)
			d.metrics.in.Add(float64(n))
			d.idle.touch()
			if werr := d.codec.send(b[:front+n]); werr != nil {
				d.upFailed(werr)
				return
			}
			d.idle.touch()
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			d.upFinished()
			return
		case err != nil:
			d.readFailed(err)
			return
		}
	}
}

// readFailed handles a visitor that has reset the connection, and the end of the linger timeout.
func (d *duplex) readFailed(err error) {
	if d.delivered() && errors.Is(err, os.ErrDeadlineExceeded) {
		return // the response is delivered, and the connector does not want the rest of the request
	}
	d.abort(visitorGone, err)
}

// upFinished handles FIN of the visitor. A connector that would end the response at FIN gets it only after the response was silent
// for FinHold.
func (d *duplex) upFinished() {
	d.mu.Lock()
	d.upEnded = true
	over := d.downEnded
	d.mu.Unlock()
	switch {
	case over:
	case d.halfClose:
		if err := d.codec.end(); err != nil {
			d.streamFailed(err)
			return
		}
		d.rearm()
	default:
		d.idle.set(d.cfg.FinHold, func() {
			if err := d.codec.end(); err != nil {
				d.streamFailed(err)
				return
			}
			d.rearm()
		})
	}
}

// upFailed handles a connector that reads no more. When it has only stopped reading, its response goes on.
func (d *duplex) upFailed(err error) {
	var stopped *transport.StreamError
	if d.delivered() || (errors.As(err, &stopped) && stopped.Remote) {
		d.discard()
		return
	}
	d.streamFailed(err)
}

// delivered reports whether the whole response was delivered.
func (d *duplex) delivered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.downEnded
}

// discard reads what the visitor still sends, so that the response can reach it, until FIN or the linger timeout.
func (d *duplex) discard() {
	buf := d.buffers.Buffer()
	defer buf.Free()
	for {
		switch _, err := d.tcp.Read(buf.Next()); {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			d.mu.Lock()
			d.upEnded = true
			d.mu.Unlock()
			return
		case err != nil:
			d.readFailed(err)
			return
		}
	}
}

// streamFailed handles a stream that was reset, or whose connection is lost.
func (d *duplex) streamFailed(err error) {
	var lost *tunnel.ConnError
	if errors.As(err, &lost) {
		d.abort(connectorLost, err)
		return
	}
	d.abort(originReset, err)
}

// visitorError wraps an error of writing to the visitor.
type visitorError struct{ error }

// down carries the connector's bytes to the visitor.
func (d *duplex) down() {
	buf := d.buffers.Buffer()
	defer buf.Free()
	d.backlog = d.deps.Backlog.Begin(d.conn, func() { d.abort(visitorGone, errStalled) })
	defer d.backlog.End()
	chunk, fin := d.st.first.Bytes, d.st.first.Ended
	for {
		if len(chunk) > 0 {
			if err := d.codec.receive(chunk, d.deliver); err != nil {
				d.downEnd(err)
				return
			}
		}
		if fin {
			d.downEnd(d.codec.ended())
			return
		}
		b := buf.Next()
		n, err := d.st.Read(b)
		buf.Took(n)
		chunk, fin = b[:n], err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
		if err != nil && !fin {
			d.streamFailed(err)
			return
		}
		d.idle.touch()
	}
}

// deliver writes to the visitor.
func (d *duplex) deliver(b []byte) error {
	d.backlog.WriteStarted()
	n, err := d.tcp.Write(b)
	d.backlog.WriteDone(n)
	d.out += int64(n)
	d.metrics.out.Add(float64(n))
	d.idle.touch()
	if err != nil {
		return visitorError{err}
	}
	return nil
}

// downEnd handles the end of the response, orderly or not.
func (d *duplex) downEnd(err error) {
	var gone visitorError
	switch {
	case errors.As(err, &gone):
		d.abort(visitorGone, gone.error)
		return
	case err != nil && err != io.EOF: //nolint:errorlint // the bare value is the contract of codec
		d.streamFailed(err)
		return
	}
	d.mu.Lock()
	d.downEnded = true
	broken, over := d.cause != nil, d.upEnded
	d.mu.Unlock()
	if broken {
		return
	}
	if cerr := d.tcp.CloseWrite(); cerr != nil {
		d.abort(visitorGone, cerr)
		return
	}
	if over {
		return
	}
	d.rearm()
	if err == io.EOF || !d.halfClose { //nolint:errorlint // as above
		limitRead(d.tcp, lingerTimeout) // the whole stream is over
		return
	}
	// The connector may still read. Once it has stopped, the rest of the request is discarded.
	context.AfterFunc(d.st.Context(), func() { limitRead(d.tcp, lingerTimeout) })
}

// plain is the codec of TCP streams.
type plain struct{ st *tunnelEnd }

func (p plain) room() (front, most int) { return 0, bufferSize }
func (p plain) send(b []byte) error     { _, err := p.st.Write(b); return err }
func (p plain) end() error              { return p.st.CloseWrite() }
func (p plain) ended() error            { return nil }

func (p plain) receive(b []byte, f func([]byte) error) error { return f(b) }

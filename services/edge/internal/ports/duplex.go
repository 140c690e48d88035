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

// lingerTimeout is how long a visitor whose bytes nobody wants any more may take to notice: closing at once could destroy
// the answer on its way, since bytes that nobody read turn the close into a reset.
const lingerTimeout = 2 * time.Second

// duplex carries the bytes of one visitor both ways.
type duplex struct {
	*visitor
	st        *leg
	conn      *registry.Conn
	halfClose bool // the connector may be told the end of the visitor's bytes while its answer is wanted
	codec     codec
	guard     guard
	backlog   *backlog.Answer
	in, out   int64

	mu     sync.Mutex // guards the fields below
	cause  error      // why it broke, nil while it did not
	result result
	// upEnded and downEnded say that a direction has ended by FIN.
	upEnded, downEnded bool
}

// codec puts the bytes on the stream and takes them off: as they are, or in websocket messages.
type codec interface {
	// room is how many bytes in front of those to send belong to the codec, and most how many it takes at once.
	room() (front, most int)
	// send sends the bytes after the room in b.
	send(b []byte) error
	// end says that nothing more will be sent.
	end() error
	// receive takes the bytes of the stream and gives those for the visitor to f, until io.EOF says that all was given.
	receive(b []byte, f func([]byte) error) error
	// ended looks whether the stream may end here.
	ended() error
}

func newDuplex(v *visitor, st *leg, conn *registry.Conn) *duplex {
	d := &duplex{visitor: v, st: st, conn: conn, halfClose: conn.HalfClose(), result: resultEnded}
	d.codec = plain{st}
	if st.websocket {
		d.codec = newMessages(st, d.halfClose)
	}
	return d
}

// errStopped is the cause of an end that nobody asked for: the edge stops.
var errStopped = errors.New("the edge stops")

// run carries until both directions have ended.
func (d *duplex) run(ctx context.Context) (result, error) {
	unhook := context.AfterFunc(ctx, func() { d.abort(resultStopped, errStopped) })
	defer unhook()
	defer d.guard.stop()
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
		d.st.CancelRead(transport.NoError) // nothing more is wanted; harmless after its end
		_ = d.st.CloseWrite()              // fails only on a dead stream
		_ = d.tcp.Close()                  // both directions were said to be over
	}
	return d.result, d.cause
}

// abort ends both sides as errors, once.
func (d *duplex) abort(r result, cause error) {
	d.mu.Lock()
	first := d.cause == nil
	if first {
		d.cause, d.result = cause, r
	}
	d.mu.Unlock()
	if first {
		cancelStream(d.st)
		reset(d.tcp)
	}
}

// errSilent is the cause of an end by a limit of silence.
var errSilent = errors.New("nothing was carried for too long")

// errGreedy is the cause of an end for the sake of others.
var errGreedy = errors.New("the visitor takes nothing while others wait")

// rearm sets the limit of silence that fits the state.
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
	d.guard.set(limit, func() { d.abort(resultIdle, errSilent) })
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
			d.guard.touch()
			if werr := d.codec.send(b[:front+n]); werr != nil {
				d.upFailed(werr)
				return
			}
			d.guard.touch()
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

// readFailed: the visitor reset the connection, or the lingering is over.
func (d *duplex) readFailed(err error) {
	if d.answered() && errors.Is(err, os.ErrDeadlineExceeded) {
		return // the answer is delivered, and nobody wants what the visitor has to say
	}
	d.abort(resultVisitorGone, err)
}

// upFinished: the visitor has said all. A connector that would cut its answer for that learns it when the answer is silent.
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
		d.guard.set(d.cfg.FinHold, func() {
			if err := d.codec.end(); err != nil {
				d.streamFailed(err)
				return
			}
			d.rearm()
		})
	}
}

// upFailed: the connector takes no more. When it has only stopped reading, its answer still counts.
func (d *duplex) upFailed(err error) {
	var stopped *transport.StreamError
	if d.answered() || (errors.As(err, &stopped) && stopped.Remote) {
		d.discard()
		return
	}
	d.streamFailed(err)
}

// answered reports whether the whole answer was delivered.
func (d *duplex) answered() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.downEnded
}

// discard reads what the visitor still sends, so that the answer can reach it, until it ends or the lingering is over.
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

// streamFailed: the connector reset the stream, or is lost.
func (d *duplex) streamFailed(err error) {
	var lost *tunnel.ConnError
	if errors.As(err, &lost) {
		d.abort(resultLost, err)
		return
	}
	d.abort(resultOriginReset, err)
}

// visitorError wraps an error of writing to the visitor.
type visitorError struct{ error }

// down carries the connector's bytes to the visitor.
func (d *duplex) down() {
	buf := d.buffers.Buffer()
	defer buf.Free()
	d.backlog = d.deps.Backlog.Begin(d.conn, func() { d.abort(resultVisitorGone, errGreedy) })
	defer d.backlog.End()
	chunk, ended := d.st.first, d.st.ended
	for {
		if len(chunk) > 0 {
			if err := d.codec.receive(chunk, d.deliver); err != nil {
				d.downEnd(err)
				return
			}
		}
		if ended {
			d.downEnd(d.codec.ended())
			return
		}
		b := buf.Next()
		n, err := d.st.Read(b)
		buf.Took(n)
		chunk, ended = b[:n], err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
		if err != nil && !ended {
			d.streamFailed(err)
			return
		}
		d.guard.touch()
	}
}

// deliver writes to the visitor.
func (d *duplex) deliver(b []byte) error {
	d.backlog.Waits()
	n, err := d.tcp.Write(b)
	d.backlog.Took(n)
	d.out += int64(n)
	d.metrics.out.Add(float64(n))
	d.guard.touch()
	if err != nil {
		return visitorError{err}
	}
	return nil
}

// downEnd: the answer is over, well or not.
func (d *duplex) downEnd(err error) {
	var gone visitorError
	switch {
	case errors.As(err, &gone):
		d.abort(resultVisitorGone, gone.error)
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
		d.abort(resultVisitorGone, cerr)
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
	// The connector may still read. Once it does not, nobody wants what the visitor has to say.
	context.AfterFunc(d.st.Context(), func() { limitRead(d.tcp, lingerTimeout) })
}

// plain is the codec of TCP streams.
type plain struct{ st *leg }

func (p plain) room() (front, most int) { return 0, bulk }
func (p plain) send(b []byte) error     { _, err := p.st.Write(b); return err }
func (p plain) end() error              { return p.st.CloseWrite() }
func (p plain) ended() error            { return nil }

func (p plain) receive(b []byte, f func([]byte) error) error { return f(b) }

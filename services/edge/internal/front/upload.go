package front

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

const (
	// lingerTimeout is how long the server goes on reading a body that the origin does not want: to close at once could destroy
	// the response on its way to the visitor.
	lingerTimeout = 2 * time.Second
	// rearmFraction is the fraction of a timeout that may pass before a deadline is moved: to move it costs more than to
	// read the clock, and a timeout need not be exact.
	rearmFraction = 4
)

// upload carries a request's body to the connector while the response may already be on its way. All methods accept nil,
// which is a request without a body.
type upload struct {
	front *Front
	r     *http.Request
	st    transport.Stream
	rc    *http.ResponseController
	done  chan struct{}
	// framed says that the body is sent in frames.
	framed bool

	// mu guards the fields below.
	mu       sync.Mutex
	all      bool // the body was read to its end
	left     bool // the visitor broke off
	stuck    bool // the connector read nothing for too long
	hasHead  bool // the head of the response is there, so that the wait for it is over
	stopping bool
}

func newBuffer() any { return new([bufferSize]byte) }

func (rt *roundTrip) startUpload(st transport.Stream) *upload {
	rt.uploading = true
	u := &upload{
		front: rt.front, r: rt.r, st: st, framed: rt.framed, rc: http.NewResponseController(rt.w.ResponseWriter),
		done: make(chan struct{}),
	}
	if rt.r.ProtoMajor == 1 {
		_ = u.rc.EnableFullDuplex() // the server's own writers support it
	}
	go u.run()
	return u
}

func (u *upload) run() {
	defer close(u.done)
	buf := u.front.buffers.Get().(*[bufferSize]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer u.front.buffers.Put(buf)
	var readArmed, writeArmed time.Time
	left := u.r.ContentLength
	lead := 0 // room for what goes before the data
	if u.framed {
		lead = stream.FrameHeaderSize
	}
	pace := u.bodyRate()
	for {
		readArmed = u.armRead(readArmed)
		pace.begin()
		n, err := u.r.Body.Read(buf[lead:])
		if pace.tooSlow(n) && err == nil {
			u.readFailed()
			return
		}
		if left -= int64(n); left == 0 || err == io.EOF {
			u.set(&u.all)
		}
		if n > 0 {
			writeArmed = u.armWrite(writeArmed)
			if u.framed {
				_ = stream.AppendDataHeader(buf[:0], n) // in its place before the data
			}
			if _, werr := u.st.Write(buf[:lead+n]); werr != nil {
				u.writeFailed(werr)
				return
			}
		}
		switch {
		case err == io.EOF:
			u.end()
			return
		case err != nil:
			u.readFailed()
			return
		}
	}
}

// end sends the end of a complete body, with its trailers if there are any.
func (u *upload) end() {
	_ = u.rc.SetReadDeadline(time.Time{}) // supported by the server's own writers
	if u.framed {
		frame, err := headpolicy.AppendTrailers(nil, u.r.Trailer, u.front.header)
		if err != nil { // without them the request would be incomplete
			transport.Abort(u.st)
			return
		}
		if _, err := u.st.Write(frame); err != nil {
			u.writeFailed(err)
			return
		}
	}
	_ = u.st.CloseWrite() // fails only on a dead stream, where reading the response fails as well
	u.limitWait()
}

// due reports whether it is time to move a deadline that was moved last at last.
func (u *upload) due(last, now time.Time) bool {
	idle := u.front.cfg.BodyIdleTimeout
	return idle > 0 && now.Sub(last) >= idle/rearmFraction
}

// armRead bounds how long the visitor may be silent.
func (u *upload) armRead(last time.Time) time.Time {
	now := time.Now()
	if !u.due(last, now) {
		return last
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.stopping && (!u.hasHead || !u.duplex()) {
		_ = u.rc.SetReadDeadline(now.Add(u.front.cfg.BodyIdleTimeout)) // supported by the server's own writers
	}
	return now
}

// armWrite bounds how long a write to the connector may make no progress.
func (u *upload) armWrite(last time.Time) time.Time {
	now := time.Now()
	if !u.due(last, now) {
		return last
	}
	_ = u.st.SetWriteDeadline(now.Add(u.front.cfg.BodyIdleTimeout)) // fails only on a dead stream, where the next write fails as well
	return now
}

// duplex reports whether the body is a stream of messages, which may pause without limit while the response comes. The
// connection's pings notice a visitor that is gone.
func (u *upload) duplex() bool { return u.r.ProtoMajor > 1 && u.r.ContentLength < 0 }

// writeFailed handles a connector that reads no more: it does not want the body, which is not an error, or it is lost or stuck.
func (u *upload) writeFailed(err error) {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		u.set(&u.stuck)
		transport.Abort(u.st)
		return
	}
	u.limitWait()
}

// readFailed handles a visitor that broke off, or a round trip that is over. An incomplete body never ends with FIN.
func (u *upload) readFailed() {
	u.mu.Lock()
	stopping := u.stopping
	u.left = !stopping
	u.mu.Unlock()
	if !stopping {
		u.st.CancelRead(transport.NoError) // first: a response to an incomplete request must not be passed on
	}
	u.st.CancelWrite(transport.NoError)
}

// limitWait starts to bound the wait for the head of the response, now that the request is sent.
func (u *upload) limitWait() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.hasHead {
		u.front.limitWait(u.st)
	}
}

// responded ends the wait for the head of the response.
func (u *upload) responded(st transport.Stream, bounded bool) {
	if u != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.hasHead = true
		if u.duplex() && !u.stopping {
			_ = u.rc.SetReadDeadline(time.Time{}) // supported by the server's own writers
		}
	}
	if bounded {
		_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
	}
}

// stop ends the upload and waits for it. It aborts an unfinished one on both sides.
func (u *upload) stop() {
	if u == nil {
		return
	}
	select {
	case <-u.done:
	default:
		u.mu.Lock()
		u.stopping = true
		if !u.all { // otherwise only the server reads from the connection, which stays open for the next request
			_ = u.rc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; supported by the server's own writers
		}
		u.mu.Unlock()
		u.awaitEnd()
	}
	if u.r.ProtoMajor == 1 && !u.consumed() {
		_ = u.rc.SetReadDeadline(time.Now().Add(lingerTimeout)) // supported by the server's own writers
	}
}

// awaitEnd gives a body that was read to its end time to be written, and aborts every other one.
func (u *upload) awaitEnd() {
	if u.consumed() {
		limit := time.NewTimer(finTimeout)
		defer limit.Stop()
		select {
		case <-u.done:
			return
		case <-limit.C:
		}
	}
	u.st.CancelWrite(transport.NoError) // wakes the writer
	<-u.done
}

func (u *upload) set(flag *bool) {
	u.mu.Lock()
	*flag = true
	u.mu.Unlock()
}

func (u *upload) consumed() bool    { return u.get(func() bool { return u.all }) }
func (u *upload) visitorLeft() bool { return u.get(func() bool { return u.left }) }
func (u *upload) stalled() bool     { return u.get(func() bool { return u.stuck }) }

func (u *upload) get(flag func() bool) bool {
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return flag()
}

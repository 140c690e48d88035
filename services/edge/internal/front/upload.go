package front

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// lingerTimeout is how long a visitor whose body was not wanted may take to notice; the server reads on for so long,
// since closing at once could destroy the answer on its way.
const lingerTimeout = 2 * time.Second

// upload carries a request's body to the connector while the answer may already be on its way. All methods accept nil,
// which is a request without a body.
type upload struct {
	front *Front
	r     *http.Request
	st    transport.Stream
	rc    *http.ResponseController
	done  chan struct{}
	// framed says that the body goes in frames.
	framed bool

	// mu protects the fields below.
	mu       sync.Mutex
	all      bool // the body was read to its end
	left     bool // the visitor broke off
	stuck    bool // the connector took nothing for too long
	hasHead  bool // the answer's head is there, so nothing bounds reads any more
	stopping bool
}

func newBuffer() any { return new([bufferSize]byte) }

func (x *exchange) startUpload(st transport.Stream) *upload {
	x.uploading = true
	u := &upload{front: x.front, r: x.r, st: st, framed: x.framed, rc: http.NewResponseController(x.w), done: make(chan struct{})}
	if x.r.ProtoMajor == 1 {
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
	pace := u.pace()
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

// end says that the body is complete, with its trailers if there are any.
func (u *upload) end() {
	_ = u.rc.SetReadDeadline(time.Time{}) // supported by the server's own writers
	if u.framed {
		frame, err := appendTrailers(nil, u.r.Trailer)
		if err != nil { // more than can be carried: the request is not what the visitor sent
			cancelStream(u.st)
			return
		}
		if _, err := u.st.Write(frame); err != nil {
			u.writeFailed(err)
			return
		}
	}
	_ = u.st.CloseWrite() // fails only on a dead stream, which the reader of the answer sees
	u.limitWait()
}

// due reports whether a deadline that was set at last should be moved.
func (u *upload) due(last, now time.Time) bool {
	idle := u.front.cfg.BodyIdleTimeout
	return idle > 0 && now.Sub(last) >= idle/rearmPart
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

// armWrite bounds how long the connector may take nothing.
func (u *upload) armWrite(last time.Time) time.Time {
	now := time.Now()
	if !u.due(last, now) {
		return last
	}
	_ = u.st.SetWriteDeadline(now.Add(u.front.cfg.BodyIdleTimeout)) // fails only on a dead stream, which the next write tells
	return now
}

// duplex reports whether the body may pause for as long as it likes while the answer comes: a stream of messages both
// ways. The connection's pings notice a visitor who is gone.
func (u *upload) duplex() bool { return u.r.ProtoMajor > 1 && u.r.ContentLength < 0 }

// writeFailed: the connector wants no more, which is fine when it has answered; or it is lost or stuck.
func (u *upload) writeFailed(err error) {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		u.set(&u.stuck)
		cancelStream(u.st)
		return
	}
	u.limitWait()
}

// readFailed: the visitor broke off, or the exchange is over and wants no more. A broken body never ends with FIN.
func (u *upload) readFailed() {
	u.mu.Lock()
	stopping := u.stopping
	u.left = !stopping
	u.mu.Unlock()
	if !stopping {
		u.st.CancelRead(transport.NoError) // first: an answer to what was broken off is none
	}
	u.st.CancelWrite(transport.NoError)
}

// limitWait starts to bound the wait for the answer's head, now that the request is sent.
func (u *upload) limitWait() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.hasHead {
		u.front.limitWait(u.st)
	}
}

// answered lifts the bound on reads: the head of the answer is there.
func (u *upload) answered(st transport.Stream, bounded bool) {
	if u != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.hasHead = true
		if u.duplex() && !u.stopping {
			_ = u.rc.SetReadDeadline(time.Time{}) // supported by the server's own writers
		}
	}
	if bounded {
		_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, which the next read tells
	}
}

// stop ends the upload and waits for it. An unfinished one is broken off on both sides.
func (u *upload) stop() {
	if u == nil {
		return
	}
	select {
	case <-u.done:
	default:
		u.mu.Lock()
		u.stopping = true
		if !u.all { // else nobody reads but the server, and the connection is to serve the next request
			_ = u.rc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; supported by the server's own writers
		}
		u.mu.Unlock()
		u.awaitEnd()
	}
	if u.r.ProtoMajor == 1 && !u.consumed() {
		_ = u.rc.SetReadDeadline(time.Now().Add(lingerTimeout)) // supported by the server's own writers
	}
}

// awaitEnd lets a body that was read to its end be written, and breaks off every other.
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

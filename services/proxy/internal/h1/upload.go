package h1

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	// uploadBuf is the size of the buffer a request's body passes through, with room for a chunk's first and last line.
	uploadBuf  = 32 << 10
	chunkRoom  = len("ffffffffffffffff\r\n")
	chunkClose = "\r\n"
	// uploadGrace is how long the end of a response waits for a copier that has certainly written everything, since the
	// origin responded, but may not have been scheduled since.
	uploadGrace = 5 * time.Millisecond
)

// upload copies one request's body to its connection.
type upload struct {
	c    *conn
	req  *http.Request
	kind bodyKind
	// wait is the time for the response's head once the body is sent; 0 is no limit.
	wait time.Duration
	done chan struct{}

	stopped    atomic.Bool // no further read of the body
	bodyClosed atomic.Bool

	mu        sync.Mutex // guards the rest
	responded bool
	err       error // why the body is not complete
	lost      bool  // the reason is the connection's
}

// run copies and ends. buf is its own.
func (u *upload) run(buf []byte) {
	defer close(u.done)
	err := u.copy(buf)
	u.closeBody()
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil {
		if !u.lost {
			// The origin must not mistake the bytes so far for a complete message. After a failed write, though, it may have
			// responded already, so the connection is left to the reader.
			defer u.c.close()
		}
		u.err = err
	}
	if !u.responded && u.wait > 0 {
		_ = u.c.nc.SetReadDeadline(time.Now().Add(u.wait)) // fails on a closed connection only
	}
}

// send writes to the connection and remembers whether that failed.
func (u *upload) send(b []byte) error {
	_, err := u.c.nc.Write(b)
	if err != nil {
		u.mu.Lock()
		u.lost = true
		u.mu.Unlock()
	}
	return err
}

func (u *upload) copy(buf []byte) error {
	if u.kind == bodyChunked {
		return u.copyChunked(buf)
	}
	return u.copySized(buf)
}

// copySized sends exactly the declared length.
func (u *upload) copySized(buf []byte) error {
	declared, sent := u.req.ContentLength, int64(0)
	for {
		n, rerr := u.read(buf)
		if over := sent + int64(n) - declared; over > 0 {
			if err := u.send(buf[:n-int(over)]); err != nil {
				return err
			}
			return &lengthError{declared: declared, sent: sent + int64(n)}
		}
		sent += int64(n)
		if n > 0 {
			if err := u.send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case isEnd(rerr) && sent == declared:
			return nil
		case isEnd(rerr):
			return &lengthError{declared: declared, sent: sent}
		case rerr != nil:
			return rerr
		}
	}
}

// copyChunked sends each read as a chunk, then the trailer.
func (u *upload) copyChunked(buf []byte) error {
	for {
		n, rerr := u.read(buf[chunkRoom : len(buf)-len(chunkClose)])
		if n > 0 {
			if err := u.send(frame(buf, n)); err != nil {
				return err
			}
		}
		if isEnd(rerr) {
			return u.sendTrailer(buf)
		}
		if rerr != nil {
			return rerr
		}
	}
}

// frame puts the first and last line around the n bytes at chunkRoom.
func frame(buf []byte, n int) []byte {
	var line [chunkRoom]byte
	first := append(strconv.AppendInt(line[:0], int64(n), 16), '\r', '\n')
	start := chunkRoom - len(first)
	copy(buf[start:], first)
	end := chunkRoom + n + copy(buf[chunkRoom+n:], chunkClose)
	return buf[start:end]
}

func (u *upload) sendTrailer(buf []byte) error {
	out := outgoing{buf: append(buf[:0], "0\r\n"...)}
	for name, values := range u.req.Trailer {
		for _, v := range values {
			if !httpfield.IsValue(v) || !httpfield.IsToken(name) {
				return malformedTrailer(name)
			}
			out.appendField(name, v)
		}
	}
	return u.send(append(out.buf, '\r', '\n'))
}

func malformedTrailer(name string) error {
	return errors.New("request trailer " + strconv.Quote(name) + " cannot be sent")
}

// read reads from the body unless the upload has been stopped.
func (u *upload) read(p []byte) (int, error) {
	if u.stopped.Load() {
		return 0, errUploadStopped
	}
	return u.req.Body.Read(p)
}

// closeBody closes the request's body once. Its error has no effect: all that was needed has been read.
func (u *upload) closeBody() {
	if !u.bodyClosed.Swap(true) {
		_ = u.req.Body.Close()
	}
}

// headCame notes that the head of the response has arrived, and ends the time limit for it.
func (u *upload) headCame() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.responded = true
}

// failure is what made the request incomplete, if it was not the connection.
func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lost || errors.Is(u.err, errUploadStopped) {
		return nil
	}
	return u.err
}

// settle reports whether the request was sent in full, given a moment.
func (u *upload) settle() bool {
	select {
	case <-u.done:
	default:
		grace := time.NewTimer(uploadGrace)
		defer grace.Stop()
		select {
		case <-u.done:
		case <-grace.C:
			return false
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err == nil
}

// stop ends the copier after its connection was closed: a write under way fails, no further read of the body begins, and
// the body is closed, which breaks a read under way if the body is made that way.
func (u *upload) stop() {
	u.stopped.Store(true)
	u.closeBody()
}

package link

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

var errTooMuch = errors.New("rest of the request exceeds the drain limit")

// directRead is the size of a caller's slice from which on bytes of a large frame bypass our buffer.
const directRead = 4 << 10

// abortWriteTime bounds the RESET of a worker that does not read.
const abortWriteTime = time.Second

// serverStream is the proxy's side of one flow. Reading belongs to one goroutine at a time, writing is guarded by the
// connection's write lock, because the flush timer writes too.
type serverStream struct {
	c  *serverConn
	id uint32

	// The reading side.
	left    int  // of the current frame
	fin     bool // the current frame is the last one
	readErr error

	aborted atomic.Bool

	// The rest is guarded by c.fw.mu.
	out      *buffer
	timed    bool // the connection's flush timer runs for this flow
	closed   bool
	reset    bool
	writeErr error
}

var _ Stream = (*serverStream)(nil)

// Read gives the request's bytes. The last of them may come together with io.EOF.
func (s *serverStream) Read(p []byte) (int, error) {
	if s.readErr != nil {
		return 0, s.readErr
	}
	if s.left == 0 && s.fin {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	s.c.watch.beginRead()
	n, err := 0, errAborted
	if !s.aborted.Load() {
		n, err = s.read(p)
	}
	s.c.watch.endRead()
	if err != nil {
		s.readErr = fmt.Errorf("request: %w", s.lost(err))
		return n, s.readErr
	}
	if s.left == 0 && s.fin {
		return n, io.EOF
	}
	return n, nil
}

func (s *serverStream) read(p []byte) (int, error) {
	for s.left == 0 {
		if s.fin {
			return 0, nil
		}
		if err := s.nextFrame(); err != nil {
			return 0, err
		}
	}
	fr := &s.c.fr
	want := min(len(p), s.left)
	if fr.buffered() == 0 {
		if want >= directRead {
			n, err := fr.nc.Read(p[:want])
			s.left -= n
			if n > 0 {
				err = nil
			}
			return n, noEOF(err)
		}
		if err := fr.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p[:want], fr.in.b[fr.in.r:fr.in.w])
	fr.in.r += n
	s.left -= n
	return n, nil
}

// nextFrame reads the header of the next DATA frame.
func (s *serverStream) nextFrame() error {
	h, err := s.c.fr.header()
	if err != nil {
		return err
	}
	switch h.Type {
	case frame.Data:
		if h.Stream != s.id {
			return fmt.Errorf("link stream %d in place of %d: %w", h.Stream, s.id, errProtocol)
		}
		s.left, s.fin = int(h.Length), h.FIN()
		return nil
	case frame.Ping:
		return s.c.pong(h)
	case frame.GoAway:
		_, err := s.c.fr.payload(h)
		return err
	case frame.Reset, frame.Stop:
		return errHungUp
	default:
		return fmt.Errorf("link frame type %d within a flow: %w", h.Type, errProtocol)
	}
}

// lost ends the connection after a read error: nothing that follows could be understood.
func (s *serverStream) lost(err error) error {
	if s.aborted.Load() {
		return errAborted
	}
	s.c.kill(err)
	return err
}

// discard reads up to the FIN. The connection's goroutine calls it after the handler.
func (s *serverStream) discard(limit int) error {
	fr := &s.c.fr
	for !s.fin || s.left > 0 {
		if s.left == 0 {
			if err := s.nextFrame(); err != nil {
				return err
			}
			continue
		}
		if fr.buffered() == 0 {
			if err := fr.fill(); err != nil {
				return err
			}
		}
		n := min(fr.buffered(), s.left)
		fr.in.r += n
		s.left -= n
		if limit -= n; limit < 0 {
			return errTooMuch
		}
	}
	return nil
}

// Write sends what was buffered and p at once.
func (s *serverStream) Write(p []byte) (int, error) {
	s.c.fw.mu.Lock()
	defer s.c.fw.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return 0, err
	}
	if err := s.sendLocked(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Buffer keeps p for the next Write or CloseWrite, at most for FlushDelay.
func (s *serverStream) Buffer(p []byte) error {
	s.c.fw.mu.Lock()
	defer s.c.fw.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	if len(p) > len(s.out.b)-s.out.w {
		return s.sendLocked(p, false)
	}
	s.out.w += copy(s.out.b[s.out.w:], p)
	if !s.timed {
		s.timed = true
		s.c.flush.Reset(FlushDelay)
	}
	return nil
}

// flushLate writes the buffered bytes. It is the function of the timer flush.
func (c *serverConn) flushLate() {
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	if s := c.current; s != nil && s.timed && s.usableLocked() == nil {
		_ = s.sendLocked(nil, false) // the next call reports it
	}
}

// CloseWrite sends what was buffered together with FIN.
func (s *serverStream) CloseWrite() error {
	s.c.fw.mu.Lock()
	defer s.c.fw.mu.Unlock()
	if s.closed {
		return s.writeErr
	}
	if err := s.usableLocked(); err != nil {
		return err
	}
	err := s.sendLocked(nil, true)
	s.closed = true
	return err
}

// Abort resets the response and makes pending calls fail.
func (s *serverStream) Abort() {
	if s.aborted.Swap(true) {
		return
	}
	c := s.c
	if !c.fw.mu.TryLock() {
		// A write is pending, perhaps for ever, and a RESET cannot be put into a half-written frame.
		c.kill(errAborted)
		return
	}
	defer c.fw.mu.Unlock()
	if !s.closed {
		s.resetLocked()
	}
	_ = c.fr.nc.SetReadDeadline(past()) // makes a pending read fail
}

// resetLocked writes RESET in place of what was buffered.
func (s *serverStream) resetLocked() {
	c := s.c
	s.closed, s.reset = true, true
	if s.writeErr == nil && c.fr.nc.SetWriteDeadline(time.Now().Add(abortWriteTime)) == nil {
		_, s.writeErr = c.fr.nc.Write(frame.AppendCode(nil, frame.Reset, s.id, 0))
	}
	if s.writeErr == nil {
		s.writeErr = errAborted
	}
	s.releaseLocked()
}

// finish ends the flow after its handler; an error means that the connection must be closed.
func (s *serverStream) finish() error {
	c := s.c
	c.fw.mu.Lock()
	if !s.closed {
		s.resetLocked()
	}
	c.current = nil
	reset, writeErr := s.reset, s.writeErr
	if writeErr == nil {
		s.writeErr = errOver // for a goroutine of the handler that still runs
	}
	c.fw.mu.Unlock()
	if s.readErr != nil && !errors.Is(s.readErr, errAborted) {
		return s.readErr
	}
	if reset {
		c.linger(s)
	}
	return writeErr
}

func (s *serverStream) usableLocked() error {
	if s.writeErr != nil {
		return s.writeErr
	}
	if s.closed {
		return errOver
	}
	if s.out == nil {
		s.out = s.c.srv.bufs.get(smallBuffer)
		s.out.w = frame.HeaderSize
	}
	return nil
}

func (s *serverStream) sendLocked(p []byte, fin bool) error {
	if s.timed {
		s.timed = false
		s.c.flush.Stop()
	}
	if s.out.w == frame.HeaderSize && len(p) == 0 && !fin {
		return nil
	}
	out, err := s.c.fw.sendLocked(&s.c.srv.bufs, s.out, s.id, p, fin)
	s.out = out
	if err != nil {
		s.writeErr = fmt.Errorf("response: %w", err)
		s.c.kill(err)
	}
	s.releaseLocked() // a long flow holds no buffer while it is silent
	return s.writeErr
}

func (s *serverStream) releaseLocked() {
	if s.timed {
		s.timed = false
		s.c.flush.Stop()
	}
	s.c.srv.bufs.put(s.out)
	s.out = nil
}

package mux

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// SendHead sends the header of a request or of a response. After an interim one the final one is still to be sent. With
// end it carries END_STREAM.
func (s *Stream) SendHead(fields []Field, interim, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.sendableLocked(); err != nil {
		return err
	}
	if s.headSent {
		return errHeadTwice
	}
	id := s.id
	if id == 0 {
		id = c.nextOwn
		if id > maxWindow {
			return errExhausted
		}
	}
	if err := c.appendHead(id, fields, end); err != nil {
		return err
	}
	s.headSent = !interim
	if s.id == 0 {
		c.nextOwn += 2
		delete(c.streams, s.key)
		s.id, s.key = id, id
		s.sendWindow = int64(c.peer.window)
		c.streams[id] = s
	}
	c.toWrite.Signal()
	if end {
		s.endLocked()
	}
	return nil
}

// Write sends p and returns when all of it is in the connection's buffer. With end the last frame carries END_STREAM.
func (s *Stream) Write(p []byte, end bool) (n int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := s.sendableLocked(); err != nil {
			return n, err
		}
		if !s.headSent {
			return n, errNoHead
		}
		left := len(p) - n
		if left == 0 {
			break
		}
		size := s.roomLocked(left)
		if size == 0 {
			if err := s.waitLocked(); err != nil {
				return n, err
			}
			continue
		}
		last := end && size == left
		c.appendData(s.id, p[n:n+size], last)
		c.toWrite.Signal()
		s.sendWindow -= int64(size)
		c.sendWindow -= int64(size)
		c.nextTurnLocked()
		n += size
		if last {
			s.endLocked()
			return n, nil
		}
	}
	if end {
		c.appendData(s.id, nil, true)
		c.toWrite.Signal()
		s.endLocked()
	}
	return n, nil
}

// CloseWrite ends our direction, with trailers if there are any. It is no error if the peer has reset the stream: it does
// not want the end. Idempotent.
func (s *Stream) CloseWrite(trailers []Field) error {
	c := s.c
	c.mu.Lock()
	switch {
	case s.finSent:
		c.mu.Unlock()
		return nil
	case isTheirs(s.sendErr):
		s.finSent, s.closed = true, true
		s.clearLocked()
		c.mu.Unlock()
		return nil
	case s.sendErr != nil:
		err := s.sendErr
		c.mu.Unlock()
		return err
	case !s.headSent:
		c.mu.Unlock()
		return errNoHead
	}
	if len(trailers) == 0 || c.appendHead(s.id, trailers, true) != nil {
		c.appendData(s.id, nil, true)
	}
	c.toWrite.Signal()
	s.endLocked()
	c.mu.Unlock()
	s.hangUp()
	return nil
}

func (s *Stream) sendableLocked() error {
	switch {
	case s.sendErr != nil:
		return s.sendErr
	case s.finSent:
		return errWriteClosed
	case s.c.err != nil:
		return s.c.err
	default:
		return nil
	}
}

// endLocked notes that END_STREAM was sent.
func (s *Stream) endLocked() {
	s.finSent, s.closed = true, true
	s.writeBy.stopLocked()
	s.stop(nil)
	// Lock order: mu before rmu (docs/adr/0016).
	s.rmu.Lock()
	fin := s.fin
	s.rmu.Unlock()
	if fin {
		s.forgetLocked()
	}
}

// roomLocked gives how many of n bytes can be sent now in one frame.
func (s *Stream) roomLocked(n int) int {
	c := s.c
	if len(c.out) >= c.cfg.OutBuffer {
		return 0
	}
	return int(max(0, min(int64(n), s.sendWindow, c.sendWindow, int64(c.peer.frame), maxChunk)))
}

// waitLocked waits until the stream may send, or its deadline expires.
func (s *Stream) waitLocked() error {
	if s.writeBy.expired {
		return os.ErrDeadlineExceeded
	}
	switch {
	case s.queued:
	case s.sendWindow > 0:
		s.queued = true
		s.c.turn = append(s.c.turn, s)
	default:
		s.c.nextTurnLocked() // this stream's own window is used up: if it was its turn, the next one may send
	}
	waiting := s.queued
	s.wcond.Wait()
	switch {
	case s.queued:
		s.queued = false
		s.c.turn = slices.DeleteFunc(s.c.turn, func(o *Stream) bool { return o == s })
	case waiting && (s.sendErr != nil || s.writeBy.expired):
		s.c.nextTurnLocked() // it was this stream's turn, and it will not send
	}
	return s.sendableLocked()
}

func isTheirs(err error) bool {
	var se *transport.StreamError
	return errors.As(err, &se) && se.Remote
}

// The codes of resets that package h2 uses.
const (
	Cancelled = http2.ErrCodeCancel
	Internal  = http2.ErrCodeInternal
	NoError   = http2.ErrCodeNo
)

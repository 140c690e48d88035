package mux

import (
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Stream is one stream of a Conn: a head each way, bytes each way, and perhaps trailers.
type Stream struct {
	c    *Conn
	ctx  context.Context //nolint:containedctx // it is the stream's own life, handed out by Context
	stop context.CancelCauseFunc
	// foreign says that the peer opened the stream, with head.
	foreign  bool
	head     []Field
	bodiless bool // nothing follows the head

	// Conn.mu guards the sending side. id is 0 until the head of a stream of ours was sent; key is where the connection
	// keeps the stream: the id, or a number beyond all ids.
	id, key    uint32
	sendWindow int64
	sendErr    error // why nothing can be sent any more
	headSent   bool
	finSent    bool
	queued     bool // in Conn.turn
	closed     bool // this end has closed its side, in order or not
	cleared    bool // it is counted no more
	wcond      sync.Cond
	writeBy    deadline

	// rmu guards the receiving side.
	rmu      sync.Mutex
	rcond    sync.Cond
	heads    [][]Field
	answered bool // the final head has come
	buf      queue
	fin      bool
	trailers []Field
	recvErr  error // why nothing can be read any more
	discard  bool  // what comes is thrown away
	readBy   deadline
	// window is how far the peer may be ahead, recvWindow what is left of it, unacked what was read and not yet granted
	// anew.
	window, recvWindow, unacked int
}

// newStream makes a stream. The caller holds mu and has counted it.
func (c *Conn) newStream(id uint32) *Stream {
	s := &Stream{c: c, id: id, key: id, sendWindow: int64(c.peer.window), window: c.cfg.StreamWindow, recvWindow: c.cfg.StreamWindow}
	s.ctx, s.stop = context.WithCancelCause(c.ctx)
	s.wcond.L, s.rcond.L = &c.mu, &s.rmu
	if id == 0 {
		c.unsent += 2
		s.key = unsentKey | c.unsent | c.nextOwn&1
	}
	c.streams[s.key] = s
	return s
}

// Head is the head of a stream that the peer opened.
func (s *Stream) Head() []Field { return s.head }

// Bodiless says that nothing follows the head of a stream that the peer opened.
func (s *Stream) Bodiless() bool { return s.bodiless }

// Ended says that the peer sends no more.
func (s *Stream) Ended() bool {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.fin
}

// EndedEmpty says that the peer sends no more, and that nothing is left to read.
func (s *Stream) EndedEmpty() bool {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.fin && s.buf.size == 0 && len(s.trailers) == 0
}

// Context ends when nothing can be sent any more.
func (s *Stream) Context() context.Context { return s.ctx }

// SetReadDeadline bounds ReadHead and Read.
func (s *Stream) SetReadDeadline(t time.Time) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.recvErr == nil {
		s.readBy.setLocked(t, &s.rcond)
	}
}

// SetWriteDeadline bounds Write.
func (s *Stream) SetWriteDeadline(t time.Time) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.sendErr == nil && !s.finSent {
		s.writeBy.setLocked(t, &s.wcond)
	}
}

// forgetLocked takes the stream off the connection when both directions have ended, or at once. The caller holds
// Conn.mu.
func (s *Stream) forgetLocked() {
	c := s.c
	if c.streams[s.key] == s {
		delete(c.streams, s.key)
		if !s.foreign {
			c.own--
			c.opening.Signal()
		}
	}
	s.writeBy.stopLocked()
	s.clearLocked()
}

// clearLocked stops counting a stream of the peer once it is over and this end has closed its side: resetting streams
// faster than they can be cleared away gains a peer nothing.
func (s *Stream) clearLocked() {
	c := s.c
	if s.foreign && s.closed && !s.cleared && c.streams[s.key] != s {
		s.cleared = true
		c.foreign--
	}
}

// Reset ends the stream in disorder, unless both directions have ended. What the peer has sent with its end stays
// readable. Idempotent.
func (s *Stream) Reset(code http2.ErrCode) {
	s.c.mu.Lock()
	s.closed = true
	s.c.mu.Unlock()
	s.reset(code, byUs(code))
}

// abort resets a stream because of a mistake of the peer.
func (s *Stream) abort(code http2.ErrCode) { s.reset(code, byPeer(code)) }

func (s *Stream) reset(code http2.ErrCode, err error) {
	c := s.c
	c.mu.Lock()
	if s.id != 0 && c.streams[s.key] == s { // the peer knows of it
		if isTheirs(err) {
			c.appendRefusal(s.id, code)
		} else {
			c.appendReset(s.id, code)
		}
		c.toWrite.Signal()
	}
	if s.sendErr == nil {
		s.sendErr = err
	}
	s.forgetLocked()
	s.wcond.Broadcast()
	c.mu.Unlock()
	s.stop(err)
	s.lose(err)
}

// resetByPeer ends the stream; a peer that had all the answer, or has given all of it, only wants no more.
func (s *Stream) resetByPeer(code http2.ErrCode) {
	err := byPeer(code)
	c := s.c
	c.mu.Lock()
	if s.sendErr == nil {
		s.sendErr = err
	}
	s.forgetLocked()
	s.wcond.Broadcast()
	c.mu.Unlock()
	s.stop(err)
	s.lose(err)
}

// lose ends the receiving side because of err, unless the peer's end has come before.
func (s *Stream) lose(err error) {
	s.rmu.Lock()
	n := 0
	if s.recvErr == nil && !s.fin {
		s.recvErr = err
		n = s.buf.drop(&s.c.blocks)
	}
	s.readBy.stopLocked()
	s.rcond.Broadcast()
	s.rmu.Unlock()
	s.c.grant(n)
}

// CancelRead throws away what comes. The peer is told only when its data is all that is left of the stream: HTTP/2 has
// no word for it, and the answer may still be wanted. Idempotent.
func (s *Stream) CancelRead() {
	s.rmu.Lock()
	if s.discard {
		s.rmu.Unlock()
		return
	}
	s.discard = true
	n, back := s.buf.drop(&s.c.blocks), 0
	if s.recvErr == nil {
		s.recvErr = byUs(http2.ErrCodeNo)
	}
	s.unacked += n
	if !s.fin {
		s.recvWindow += s.unacked
		back, s.unacked = s.unacked, 0
	}
	s.readBy.stopLocked()
	s.rcond.Broadcast()
	s.rmu.Unlock()
	s.c.grant(n)
	if back > 0 {
		s.c.grantStream(s.id, back)
	}
	s.hangUp()
}

// hangUp tells a peer that has everything and still sends that it need not.
func (s *Stream) hangUp() {
	s.rmu.Lock()
	unwanted := s.discard && !s.fin
	s.rmu.Unlock()
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if unwanted && s.finSent && s.sendErr == nil && c.streams[s.key] == s {
		c.appendReset(s.id, http2.ErrCodeNo)
		c.toWrite.Signal()
		s.forgetLocked()
	}
}

// CancelWrite resets the stream unless our direction has ended before. Idempotent.
func (s *Stream) CancelWrite(code http2.ErrCode) {
	s.c.mu.Lock()
	over := s.finSent
	s.c.mu.Unlock()
	if !over {
		s.Reset(code)
	}
}

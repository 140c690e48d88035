package mux

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// Stream is one stream of a Conn: in each direction a header, bytes, and perhaps trailers.
type Stream struct {
	c    *Conn
	ctx  context.Context //nolint:containedctx // it is the stream's own life, handed out by Context
	stop context.CancelCauseFunc
	// foreign says that the peer opened the stream, with the header head.
	foreign  bool
	head     []Field
	bodiless bool // END_STREAM came with the header
	// held is the stream's part of Conn.heldHeaders.
	held atomic.Int64

	// Conn.mu guards the sending side. id is 0 until the header of a stream that we open is sent. key is the stream's
	// place in Conn.streams: the id, or before that a number above all ids.
	id, key    uint32
	sendWindow int64
	sendErr    error // why nothing more can be sent
	headSent   bool
	finSent    bool
	queued     bool // in Conn.turn
	closed     bool // this end has closed its side, in order or by a reset
	cleared    bool // Conn.foreign does not count the stream any more
	wcond      sync.Cond
	writeBy    deadline

	// rmu guards the receiving side.
	rmu       sync.Mutex
	rcond     sync.Cond
	heads     [][]Field
	responded bool // the header of the final response has come
	buf       queue
	fin       bool
	trailers  []Field
	recvErr   error // why nothing more can be read
	discard   bool  // received data is thrown away
	readBy    deadline
	// window is the size of the receive window, recvWindow what the peer may still send, and unacked what was read and not
	// granted again yet.
	window, recvWindow, unacked int
}

// newStream makes a stream and enters it in the table. The caller holds mu, and counts it.
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

// Head gives the header of a stream that the peer opened. TakeHead gives it to its final reader, which must be the only one: from then
// on the header does not count against the connection's budget, and Head gives nil.
func (s *Stream) Head() []Field { return s.head }

// TakeHead is described with Head.
func (s *Stream) TakeHead() []Field {
	head := s.head
	s.head = nil
	s.release(int64(sizeOf(head)))
	return head
}

// release stops counting n bytes of decoded fields, at most those of the stream.
func (s *Stream) release(n int64) {
	for {
		held := s.held.Load()
		n = min(n, held)
		if s.held.CompareAndSwap(held, held-n) {
			s.c.heldHeaders.Add(-n)
			return
		}
	}
}

// releaseAll stops counting all decoded fields of the stream.
func (s *Stream) releaseAll() { s.c.heldHeaders.Add(-s.held.Swap(0)) }

// Bodiless reports whether nothing follows the header of a stream that the peer opened.
func (s *Stream) Bodiless() bool { return s.bodiless }

// Ended reports whether the peer has ended its direction.
func (s *Stream) Ended() bool {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.fin
}

// EndedEmpty reports whether the peer has ended its direction and nothing is left to read.
func (s *Stream) EndedEmpty() bool {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	return s.fin && s.buf.size == 0 && len(s.trailers) == 0
}

// Context ends when nothing more can be sent.
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

// forgetLocked removes the stream from the table, because both directions have ended or because of a reset. The caller
// holds Conn.mu.
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

// clearLocked stops counting a stream of the peer once it has ended and this end has closed its side. Until then it counts
// against MaxStreams, so a peer that opens and resets streams in rapid succession is bounded by how fast they are handled.
func (s *Stream) clearLocked() {
	c := s.c
	if s.foreign && s.closed && !s.cleared && c.streams[s.key] != s {
		s.cleared = true
		c.foreign--
		s.releaseAll()
	}
}

// Reset sends RST_STREAM, unless both directions have ended. Data stays readable if the peer has ended its direction. Idempotent.
func (s *Stream) Reset(code http2.ErrCode) {
	s.c.mu.Lock()
	s.closed = true
	s.c.mu.Unlock()
	s.reset(code, byUs(code))
	s.releaseAll()
}

// abort resets a stream because of an error of the peer.
func (s *Stream) abort(code http2.ErrCode) { s.reset(code, byPeer(code)) }

func (s *Stream) reset(code http2.ErrCode, err error) {
	c := s.c
	c.mu.Lock()
	if s.id != 0 && c.streams[s.key] == s { // the peer knows the stream
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

// resetByPeer ends the stream. What the peer had sent completely before its RST_STREAM stays readable.
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

// lose ends the receiving side because of err, unless the peer has ended its direction before.
func (s *Stream) lose(err error) {
	s.rmu.Lock()
	n := 0
	if s.recvErr == nil && !s.fin {
		s.recvErr = err
		n = s.buf.drop(&s.c.blocks)
		if !s.foreign { // the reader drops the header of a stream that the peer opened
			s.heads = nil
			s.releaseAll()
		}
	}
	s.readBy.stopLocked()
	s.rcond.Broadcast()
	s.rmu.Unlock()
	s.c.grant(n)
}

// CancelRead throws away received data from now on. HTTP/2 cannot stop one direction alone, so the peer's data is granted and
// dropped until our own direction has ended; then hangUp resets the stream. Idempotent.
func (s *Stream) CancelRead() {
	s.rmu.Lock()
	if s.discard {
		s.rmu.Unlock()
		return
	}
	s.discard = true
	s.releaseAll()
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

// hangUp resets the stream with NO_ERROR when our direction has ended and the peer's data is not wanted (RFC 9113 8.1).
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

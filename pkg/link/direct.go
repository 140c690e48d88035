package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// NewDirect is a carrier that calls h in the same process: no frames, no socket, no copy of the request.
func NewDirect(h Handler) Carrier { return &direct{h: h} }

type direct struct {
	h    Handler
	pend sync.Pool
}

// Carry runs the handler on the caller's goroutine.
func (d *direct) Carry(ctx context.Context, f Flow) error {
	s := &directStream{d: d, edge: f.Stream, first: f.First, eof: f.EOF}
	s.ctx.init(ctx, f.Stream)
	d.h.ServeStream(&s.ctx, f.Meta, s) //nolint:contextcheck // it is made of ctx
	return s.finish()                  //nolint:contextcheck // as above
}

// directStream is the edge stream with the first bytes before it and a write buffer.
type directStream struct {
	d    *direct
	edge EdgeStream
	ctx  directContext

	// The reading side.
	first   []byte
	eof     bool
	readErr error
	// edgeFailed says that the edge caused readErr.
	edgeFailed bool

	aborted atomic.Bool

	// mu guards the rest. It is not held while the edge stream is written to, except by Buffer's flush.
	mu       sync.Mutex
	pending  *pending
	closed   bool
	writeErr error
}

var _ Stream = (*directStream)(nil)

// pending is the pooled part of a stream that buffers.
type pending struct {
	b     []byte
	timer *time.Timer
	timed bool

	// mu guards owner: the timer may fire when the buffer has another one.
	mu    sync.Mutex
	owner *directStream
}

// Read gives the first bytes, then reads the edge stream.
func (s *directStream) Read(p []byte) (int, error) {
	switch {
	case s.readErr != nil:
		return 0, s.readErr
	case len(p) == 0:
		return 0, nil
	case len(s.first) > 0:
		n := copy(p, s.first)
		s.first = s.first[n:]
		if len(s.first) > 0 || !s.eof {
			return n, nil
		}
		s.readErr = io.EOF
		return n, io.EOF
	case s.eof:
		s.readErr = io.EOF
		return 0, io.EOF
	}
	n, err := s.edge.Read(p)
	if err != nil {
		s.readErr = err
		s.edgeFailed = err != io.EOF && !s.aborted.Load() //nolint:errorlint // the bare value is the contract of io.Reader
	}
	return n, err
}

// Write sends what was buffered and p.
func (s *directStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return 0, err
	}
	if pd := s.pending; pd != nil && len(pd.b) > 0 {
		if len(p) <= cap(pd.b)-len(pd.b) {
			pd.b = append(pd.b, p...)
			return len(p), s.flushLocked()
		}
		if err := s.flushLocked(); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 { // the timer has sent what was buffered; an edge stream may block until somebody reads nothing
		return 0, nil
	}
	n, err := s.edge.Write(p)
	if err != nil {
		s.writeErr = fmt.Errorf("response: %w", err)
	}
	return n, s.writeErr
}

// Buffer keeps p for the next Write or CloseWrite, at most for FlushDelay.
func (s *directStream) Buffer(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(); err != nil {
		return err
	}
	if s.pending == nil {
		s.pending = s.d.lend(s)
	}
	pd := s.pending
	if len(p) > cap(pd.b)-len(pd.b) {
		if err := s.flushLocked(); err != nil {
			return err
		}
		if len(p) > cap(pd.b) {
			_, err := s.edge.Write(p)
			s.writeErr = err
			return err
		}
	}
	pd.b = append(pd.b, p...)
	if !pd.timed {
		pd.timed = true
		pd.timer.Reset(FlushDelay)
	}
	return nil
}

// CloseWrite sends what was buffered, and FIN right behind it.
func (s *directStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.writeErr
	}
	if err := s.usableLocked(); err != nil {
		return err
	}
	if err := s.flushLocked(); err != nil {
		return err
	}
	s.releaseLocked()
	s.ctx.beforeEnd()
	s.closed = true
	if err := s.edge.CloseWrite(); err != nil {
		s.writeErr = fmt.Errorf("response: %w", err)
	}
	return s.writeErr
}

// Abort resets the response and makes pending calls fail.
func (s *directStream) Abort() {
	if s.aborted.Swap(true) {
		return
	}
	// Without the lock, because a pending write holds it. After FIN a reset could truncate the response.
	if !s.ctx.beforeEnd() {
		s.edge.CancelWrite(0)
	}
	s.edge.CancelRead(0)
}

// finish ends the flow after its handler.
func (s *directStream) finish() error {
	cause := s.ctx.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	closed, writeErr := s.closed, s.writeErr
	s.releaseLocked()
	s.closed = true
	if s.writeErr == nil {
		s.writeErr = errOver // for a goroutine of the handler that still runs
	}
	if !errors.Is(s.readErr, io.EOF) {
		s.edge.CancelRead(0)
	}
	if closed && writeErr == nil {
		return nil
	}
	if !s.ctx.beforeEnd() {
		s.edge.CancelWrite(0)
	}
	switch {
	case s.edgeFailed:
		return fmt.Errorf("%w: %w", ErrEdge, s.readErr)
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrEdge, cause)
	case writeErr != nil && !s.aborted.Load():
		return fmt.Errorf("%w: %w", ErrEdge, writeErr)
	default:
		return ErrReset
	}
}

func (s *directStream) usableLocked() error {
	switch {
	case s.writeErr != nil:
		return s.writeErr
	case s.aborted.Load():
		return errAborted
	case s.closed:
		return errOver
	default:
		return nil
	}
}

func (s *directStream) flushLocked() error {
	pd := s.pending
	if pd == nil || len(pd.b) == 0 {
		return nil
	}
	if pd.timed {
		pd.timed = false
		pd.timer.Stop()
	}
	_, err := s.edge.Write(pd.b)
	pd.b = pd.b[:0]
	if err != nil {
		s.writeErr = fmt.Errorf("response: %w", err)
	}
	return s.writeErr
}

func (s *directStream) releaseLocked() {
	pd := s.pending
	if pd == nil {
		return
	}
	s.pending = nil
	if pd.timed {
		pd.timed = false
		pd.timer.Stop()
	}
	pd.mu.Lock()
	pd.owner = nil
	pd.mu.Unlock()
	pd.b = pd.b[:0]
	s.d.pend.Put(pd)
}

func (d *direct) lend(s *directStream) *pending {
	pd, ok := d.pend.Get().(*pending)
	if !ok {
		pd = &pending{b: make([]byte, 0, smallBuffer)}
		pd.timer = time.AfterFunc(time.Hour, pd.flush)
		pd.timer.Stop()
	}
	pd.mu.Lock()
	pd.owner = s
	pd.mu.Unlock()
	return pd
}

// flush writes the buffered bytes. It is the timer's function.
func (pd *pending) flush() {
	pd.mu.Lock()
	s := pd.owner
	pd.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == pd && s.usableLocked() == nil {
		_ = s.flushLocked() // the next call reports it
	}
}

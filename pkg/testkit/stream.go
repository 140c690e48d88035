package testkit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
)

// Errors that the ends of a stream see when the peer, or they themselves, abort a direction.
var (
	ErrReset   = errors.New("testkit: the peer reset the stream")
	ErrStopped = errors.New("testkit: the peer stopped reading")
)

// Stream is one end of a duplex stream in memory. It has no buffer: a write returns when the peer has read its bytes, as
// under full backpressure. Its methods are those of a link.EdgeStream and of a link.Stream.
type Stream struct {
	in     *io.PipeReader
	out    *io.PipeWriter
	ctx    context.Context //nolint:containedctx // the stream's own lifetime, returned by Context
	cancel context.CancelCauseFunc
	peer   *Stream
}

// NewStreamPair creates the two ends of a stream. They need not be closed.
func NewStreamPair() (near, far *Stream) {
	near, far = new(Stream), new(Stream)
	near.in, far.out = io.Pipe()
	far.in, near.out = io.Pipe()
	near.peer, far.peer = far, near
	for _, s := range []*Stream{near, far} {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
	}
	return near, far
}

// Read returns the peer's bytes: io.EOF after its CloseWrite, ErrReset after its CancelWrite or Abort.
func (s *Stream) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write waits until the peer has read p. It returns ErrStopped when the peer cancelled its reading.
func (s *Stream) Write(p []byte) (int, error) { return s.out.Write(p) }

// Buffer is a Write: this stream delays nothing.
func (s *Stream) Buffer(p []byte) error {
	_, err := s.out.Write(p)
	return err
}

// CloseWrite ends the peer's reading with io.EOF, and this end's context.
func (s *Stream) CloseWrite() error {
	err := s.out.Close()
	s.cancel(context.Canceled)
	return err
}

// CancelRead makes the peer's writes, and this end's reads, fail; it ends the peer's context with ErrStopped.
func (s *Stream) CancelRead(uint64) {
	_ = s.in.CloseWithError(ErrStopped) // documented to return nil
	s.peer.cancel(ErrStopped)
}

// CancelWrite makes the peer's reads fail with ErrReset. It has no effect after CloseWrite.
func (s *Stream) CancelWrite(uint64) {
	_ = s.out.CloseWithError(ErrReset) // documented to return nil
	s.cancel(ErrReset)
}

// Abort is CancelRead and CancelWrite.
func (s *Stream) Abort() {
	s.CancelWrite(0)
	s.CancelRead(0)
}

// Context ends when this end can no longer write: the peer cancelled its reading, or this end closed.
func (s *Stream) Context() context.Context { return s.ctx }

// Recorder is a stream without a peer: it reads from a prepared input and records what is written. Its methods are those
// of a link.EdgeStream and of a link.Stream. The recorded state may be read while the stream is in use.
type Recorder struct {
	io.Reader
	ctx context.Context //nolint:containedctx // the stream's own lifetime, returned by Context

	mu      sync.Mutex // guards the rest
	written bytes.Buffer
	state   RecorderState
	first   chan struct{}
}

// RecorderState says how the directions of a recorded stream ended.
type RecorderState struct {
	WriteClosed, WriteCanceled, ReadCanceled bool
}

// NewRecorder creates a stream whose reads return the bytes of input. Its context is ctx.
func NewRecorder(ctx context.Context, input io.Reader) *Recorder {
	return &Recorder{Reader: input, ctx: ctx, first: make(chan struct{})}
}

// Write records p.
func (r *Recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.written.Len() == 0 && len(p) > 0 {
		close(r.first)
	}
	return r.written.Write(p)
}

// Buffer records p.
func (r *Recorder) Buffer(p []byte) error {
	_, err := r.Write(p)
	return err
}

// CloseWrite records an orderly end.
func (r *Recorder) CloseWrite() error {
	r.change(func(s *RecorderState) { s.WriteClosed = true })
	return nil
}

// CancelRead records that the rest of the input is not wanted.
func (r *Recorder) CancelRead(uint64) { r.change(func(s *RecorderState) { s.ReadCanceled = true }) }

// CancelWrite records a reset.
func (r *Recorder) CancelWrite(uint64) { r.change(func(s *RecorderState) { s.WriteCanceled = true }) }

// Abort records CancelRead and CancelWrite.
func (r *Recorder) Abort() {
	r.change(func(s *RecorderState) { s.ReadCanceled, s.WriteCanceled = true, true })
}

// Context returns the context given to NewRecorder.
func (r *Recorder) Context() context.Context { return r.ctx }

// Wrote is closed with the first byte that is written.
func (r *Recorder) Wrote() <-chan struct{} { return r.first }

// Written returns a copy of what was written so far.
func (r *Recorder) Written() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.written.Bytes())
}

// State returns how the directions have ended so far.
func (r *Recorder) State() RecorderState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *Recorder) change(f func(*RecorderState)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

package mem

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

var _ transport.Stream = (*Stream)(nil)

// Stream is one end of a stream.
type Stream struct {
	in, out *pipe
	ctx     context.Context //nolint:containedctx // it is the stream's own life, handed out by Context
	cancel  context.CancelCauseFunc
}

func newStream(s *Session, in, out *pipe) *Stream {
	st := &Stream{in: in, out: out}
	st.ctx, st.cancel = context.WithCancelCause(s.ctx)
	out.onStop = st.cancel
	return st
}

// lose ends both directions for both ends.
func (s *Stream) lose(err error) {
	s.in.fail(err, err)
	s.out.fail(err, err)
	s.cancel(err)
}

// Read gives the peer's bytes; io.EOF is its FIN.
func (s *Stream) Read(p []byte) (int, error) { return s.in.read(p) }

// Write blocks while the peer does not read.
func (s *Stream) Write(p []byte) (int, error) { return s.out.write(p) }

// CloseWrite sends FIN.
func (s *Stream) CloseWrite() error {
	err := s.out.closeWrite()
	s.cancel(nil)
	return err
}

// CancelRead makes our reads and the peer's writes fail.
func (s *Stream) CancelRead(code transport.Code) {
	s.in.fail(&transport.StreamError{Code: code}, &transport.StreamError{Code: code, Remote: true})
}

// CancelWrite makes our writes and the peer's reads fail.
func (s *Stream) CancelWrite(code transport.Code) {
	s.out.fail(&transport.StreamError{Code: code, Remote: true}, &transport.StreamError{Code: code})
	s.cancel(&transport.StreamError{Code: code})
}

// Context ends when the sending side can no longer be used.
func (s *Stream) Context() context.Context { return s.ctx }

// SetReadDeadline bounds reads.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.in.readBound.set(t)
	return nil
}

// SetWriteDeadline bounds writes.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.out.writeBound.set(t)
	return nil
}

package quic

import (
	"context"
	"errors"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

var _ transport.Stream = (*Stream)(nil)

// Stream is one bidirectional QUIC stream.
type Stream struct {
	st      *quicgo.Stream
	session *Session
}

// Read gives the peer's bytes; io.EOF is its FIN. Data and io.EOF may come together.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.st.Read(p)
	if err != nil {
		err = s.session.lost(err)
	}
	return n, err
}

// Write sends p and returns when the library has queued all of it.
func (s *Stream) Write(p []byte) (int, error) {
	n, err := s.st.Write(p)
	if err != nil {
		err = s.session.lost(err)
	}
	return n, err
}

// CloseWrite sends FIN. It is no error if the peer has stopped reading.
func (s *Stream) CloseWrite() error {
	err := s.st.Close()
	if err == nil {
		return nil
	}
	var stopped *quicgo.StreamError
	if errors.As(context.Cause(s.st.Context()), &stopped) && stopped.Remote {
		return nil
	}
	return s.session.lost(err)
}

// CancelRead sends STOP_SENDING.
func (s *Stream) CancelRead(code transport.Code) { s.st.CancelRead(quicgo.StreamErrorCode(code)) }

// CancelWrite sends RESET_STREAM.
func (s *Stream) CancelWrite(code transport.Code) { s.st.CancelWrite(quicgo.StreamErrorCode(code)) }

// Context ends when the sending side can no longer be used.
func (s *Stream) Context() context.Context { return s.st.Context() }

// SetReadDeadline bounds reads.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.st.SetReadDeadline(t) }

// SetWriteDeadline bounds writes.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.st.SetWriteDeadline(t) }

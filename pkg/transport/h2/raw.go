package h2

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
)

// raw is what all kinds of streams have in common.
type raw struct{ st *mux.Stream }

// Context ends when the sending side can no longer be used.
func (r *raw) Context() context.Context { return r.st.Context() }

// SetReadDeadline bounds reads.
func (r *raw) SetReadDeadline(t time.Time) error {
	r.st.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline bounds writes.
func (r *raw) SetWriteDeadline(t time.Time) error {
	r.st.SetWriteDeadline(t)
	return nil
}

var _ transport.Stream = (*controlStream)(nil)

// controlStream is the control stream of either end: RPC bytes and nothing else (docs/spec/wire.md 9.3).
type controlStream struct {
	raw
	role mux.Role
	// headDone says that our head was sent, or the peer's read.
	headDone bool
}

// controlRequest is how the edge asks for the control stream. Method, path and authority mean nothing.
func controlRequest() []mux.Field {
	return []mux.Field{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: ServerName},
		{Name: ":path", Value: "/"},
		{Name: upgradeHeader, Value: controlValue},
	}
}

// Read gives the peer's RPC bytes.
func (s *controlStream) Read(p []byte) (int, error) {
	if s.role == mux.Client && !s.headDone {
		head, err := s.st.ReadHead()
		if err != nil {
			return 0, err
		}
		if statusOf(head) != "200" {
			s.st.Reset(mux.Cancelled)
			return 0, errControlRefused
		}
		s.headDone = true
	}
	return s.st.Read(p)
}

// Write sends RPC bytes. The connector answers the request with its first ones.
func (s *controlStream) Write(p []byte) (int, error) {
	if err := s.answer(); err != nil {
		return 0, err
	}
	return s.st.Write(p, false)
}

func (s *controlStream) answer() error {
	if s.role == mux.Client || s.headDone {
		return nil
	}
	s.headDone = true
	return s.st.SendHead([]mux.Field{{Name: ":status", Value: "200"}}, false, false)
}

// CloseWrite ends our direction.
func (s *controlStream) CloseWrite() error {
	if err := s.answer(); err != nil {
		return err
	}
	return s.st.CloseWrite(nil)
}

// CancelRead reads no more.
func (s *controlStream) CancelRead(transport.Code) { s.st.CancelRead() }

// CancelWrite resets the stream.
func (s *controlStream) CancelWrite(transport.Code) { s.st.Reset(mux.Cancelled) }

package h2

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
)

// muxStream has the methods that all kinds of streams share.
type muxStream struct{ st *mux.Stream }

// Context ends when nothing more can be sent.
func (m *muxStream) Context() context.Context { return m.st.Context() }

// SetReadDeadline bounds reads.
func (m *muxStream) SetReadDeadline(t time.Time) error {
	m.st.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline bounds writes.
func (m *muxStream) SetWriteDeadline(t time.Time) error {
	m.st.SetWriteDeadline(t)
	return nil
}

var _ transport.Stream = (*controlStream)(nil)

// controlStream is either end of the control stream, which carries RPC messages only (docs/spec/wire.md 9.3).
type controlStream struct {
	muxStream
	role mux.Role
	// headDone says that the response's header was sent or read.
	headDone bool
}

// controlRequest is the request by which the edge opens the control stream. Method, path and authority have no meaning.
func controlRequest() []mux.Field {
	return []mux.Field{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: ServerName},
		{Name: ":path", Value: "/"},
		{Name: h2head.Upgrade, Value: h2head.UpgradeControl},
	}
}

// Read gives the bytes of the peer's RPC messages.
func (s *controlStream) Read(p []byte) (int, error) {
	if s.role == mux.Client && !s.headDone {
		head, err := s.st.ReadHead()
		if err != nil {
			return 0, err
		}
		if h2head.StatusOf(head) != "200" {
			s.st.Reset(mux.Cancelled)
			return 0, errControlRefused
		}
		s.headDone = true
	}
	return s.st.Read(p)
}

// Write sends bytes of RPC messages. The connector responds to the request before its first bytes.
func (s *controlStream) Write(p []byte) (int, error) {
	if err := s.respond(); err != nil {
		return 0, err
	}
	return s.st.Write(p, false)
}

func (s *controlStream) respond() error {
	if s.role == mux.Client || s.headDone {
		return nil
	}
	s.headDone = true
	return s.st.SendHead([]mux.Field{{Name: ":status", Value: "200"}}, false, false)
}

// CloseWrite ends our direction.
func (s *controlStream) CloseWrite() error {
	if err := s.respond(); err != nil {
		return err
	}
	return s.st.CloseWrite(nil)
}

// CancelRead drops what the peer sends from now on.
func (s *controlStream) CancelRead(transport.Code) { s.st.CancelRead() }

// CancelWrite resets the stream.
func (s *controlStream) CancelWrite(transport.Code) { s.st.Reset(mux.Cancelled) }

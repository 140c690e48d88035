package h2

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
)

var _ transport.Session = (*Session)(nil)

// Session is one HTTP/2 connection, dialled by a connector or accepted by an edge.
type Session struct {
	conn          *mux.Conn
	role          mux.Role
	local, remote netip.AddrPort
	names         *names
	scratches     sync.Pool // of *scratch
	configure     func(ctx context.Context, version int32, config []byte) (applied int32, err error)
	pushes        sync.WaitGroup
	pushSlots     chan struct{}

	// control delivers the control stream, once.
	control chan transport.Stream
	// arrived has one place: a note that incoming is not empty.
	arrived chan struct{}

	// mu guards the streams that nobody has accepted yet, and whether the control stream has been seen.
	mu          sync.Mutex
	incoming    []*mux.Stream
	controlSeen bool
}

func newSession(conn *tls.Conn, role mux.Role) *Session {
	return &Session{
		names: newNames(), role: role, local: addrPort(conn.LocalAddr()), remote: addrPort(conn.RemoteAddr()),
		control: make(chan transport.Stream, 1), arrived: make(chan struct{}, 1), pushSlots: make(chan struct{}, maxPushes),
	}
}

// newConnector starts the dialling end, which is the HTTP/2 server.
func newConnector(ctx context.Context, conn *tls.Conn, c DialConfig) *Session {
	s := newSession(conn, mux.Server)
	s.configure = c.Configure
	started := make(chan struct{})
	//nolint:contextcheck // a configuration is applied for as long as its stream lives, not the dial
	s.conn = mux.New(ctx, conn, c.Settings.config(mux.Server, func(st *mux.Stream) {
		<-started // of s.conn
		s.take(st)
	}))
	close(started)
	return s
}

// newEdge starts the accepting end, which is the HTTP/2 client, and asks for the control stream before anything else.
func newEdge(ctx context.Context, conn *tls.Conn, settings Settings) *Session {
	s := newSession(conn, mux.Client)
	s.conn = mux.New(ctx, conn, settings.config(mux.Client, nil))
	st, err := s.conn.Open(context.WithoutCancel(ctx))
	if err == nil {
		err = st.SendHead(controlRequest(), false, false)
	}
	if err == nil {
		s.control <- &controlStream{raw: raw{st: st}, role: mux.Client}
	} // else the session is over, as its user sees
	return s
}

// take sorts a request of the edge. It runs on the reading goroutine.
func (s *Session) take(st *mux.Stream) {
	switch kindOf(st.Head()) {
	case h2head.Control:
		s.mu.Lock()
		again := s.controlSeen
		s.controlSeen = true
		s.mu.Unlock()
		if again {
			st.Reset(http2.ErrCodeRefusedStream)
			return
		}
		s.control <- &controlStream{raw: raw{st: st}, role: mux.Server}
	case h2head.Configuration:
		s.startPush(st)
	case h2head.HTTP, h2head.WebSocket, h2head.TCP:
		s.mu.Lock()
		s.incoming = append(s.incoming, st)
		s.mu.Unlock()
		s.note()
	}
}

func (s *Session) note() {
	select {
	case s.arrived <- struct{}{}:
	default: // there is a note already
	}
}

// next gives the stream that has waited longest.
func (s *Session) next() *mux.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.incoming) > 0 {
		st := s.incoming[0]
		s.incoming[0] = nil
		if s.incoming = s.incoming[1:]; len(s.incoming) > 0 {
			s.note()
		} else {
			s.incoming = nil
		}
		if st.Context().Err() == nil {
			return st
		}
		st.Reset(mux.Cancelled) // the edge has given it up
	}
	return nil
}

// Context ends with the session; its cause is a *tunnel.ConnError.
func (s *Session) Context() context.Context { return s.conn.Context() }

// CloseWithError ends the session and all its streams, and waits for its goroutines. The peer learns the reason.
func (s *Session) CloseWithError(_ transport.Code, reason string) error {
	s.conn.Close(http2.ErrCodeNo, reason)
	s.pushes.Wait()
	return nil
}

// OpenStream at the edge's end opens a data stream, waiting for the peer's limit if need be; the peer sees it once its
// request was written. At the connector's end it waits for the control stream, which the edge opens first.
func (s *Session) OpenStream(ctx context.Context) (transport.Stream, error) {
	if s.role == mux.Server {
		return s.awaitControl(ctx)
	}
	st, err := s.conn.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newAsking(s, st), nil
}

// AcceptStream waits for a data stream at the connector's end. At the edge's end it gives the control stream, and then
// waits for the end of the session.
func (s *Session) AcceptStream(ctx context.Context) (transport.Stream, error) {
	if s.role == mux.Client {
		return s.awaitControl(ctx)
	}
	for {
		if err := s.ended(ctx); err != nil {
			return nil, err
		}
		if st := s.next(); st != nil {
			return newAnswering(s, st), nil
		}
		if err := s.await(ctx, s.arrived); err != nil {
			return nil, err
		}
	}
}

func (s *Session) awaitControl(ctx context.Context) (transport.Stream, error) {
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	select {
	case st := <-s.control:
		return st, nil
	case <-s.Context().Done():
		return nil, s.ended(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ended says why nothing is to be waited for.
func (s *Session) ended(ctx context.Context) error {
	if s.Context().Err() != nil {
		return context.Cause(s.Context()) //nolint:contextcheck // the session's own end is the reason
	}
	return ctx.Err()
}

// await waits for ready, which may be nil.
func (s *Session) await(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-s.Context().Done():
		return s.ended(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SendDatagram is not possible over HTTP/2.
func (s *Session) SendDatagram([]byte) error {
	if s.Context().Err() != nil {
		return context.Cause(s.Context())
	}
	return transport.ErrDatagramUnsupported
}

// ReceiveDatagram waits for the end of the session or of ctx: no datagram ever comes.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if err := s.ended(ctx); err != nil {
		return nil, err
	}
	return nil, s.await(ctx, nil)
}

// LocalAddr is this end of the TCP connection.
func (s *Session) LocalAddr() netip.AddrPort { return s.local }

// RemoteAddr is the peer's end.
func (s *Session) RemoteAddr() netip.AddrPort { return s.remote }

package h2

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

var (
	_ transport.Session   = (*Session)(nil)
	_ transport.Probation = (*Session)(nil)
	_ transport.Prober    = (*Session)(nil)
)

// Session is one HTTP/2 connection, dialled by a connector or accepted by an edge.
type Session struct {
	conn          *mux.Conn
	sock          *socket
	role          mux.Role
	local, remote netip.AddrPort
	limits        httpfield.Limits // of the headers in a response
	scratches     sync.Pool        // of *scratch
	applier       Applier          // may be nil
	pushes        sync.WaitGroup
	pushSlots     chan struct{}

	// control delivers the control stream, once.
	control chan transport.Stream
	// arrived has a buffer of one: a value in it signals that incoming is not empty.
	arrived chan struct{}

	// mu guards the streams that were not accepted yet, and whether the control stream was opened.
	mu          sync.Mutex
	incoming    []*mux.Stream
	controlSeen bool
}

func newSession(conn *tls.Conn, role mux.Role) *Session {
	sock, _ := conn.NetConn().(*socket) // both ends make their connections with one
	return &Session{
		sock: sock, role: role, local: addrPort(conn.LocalAddr()), remote: addrPort(conn.RemoteAddr()),
		control: make(chan transport.Stream, 1), arrived: make(chan struct{}, 1), pushSlots: make(chan struct{}, maxPushes),
	}
}

// newConnector starts the dialling end, which is the HTTP/2 server.
func newConnector(ctx context.Context, conn *tls.Conn, c DialConfig) *Session {
	s := newSession(conn, mux.Server)
	s.applier = c.Applier
	started := make(chan struct{})
	//nolint:contextcheck // applying a configuration ends with its stream, not with the dial
	conf := c.Settings.config(mux.Server, func(st *mux.Stream) {
		<-started // of s.conn
		s.take(st)
	})
	conf.Lost = c.whyLost // it has a bound of its own
	s.conn = mux.New(ctx, conn, conf)
	close(started)
	return s
}

// newEdge starts the accepting end, which is the HTTP/2 client, and opens the control stream before any other.
func newEdge(ctx context.Context, conn *tls.Conn, settings Settings) *Session {
	s := newSession(conn, mux.Client)
	s.limits = settings.Headers.BehindEdge()
	s.conn = mux.New(ctx, conn, settings.config(mux.Client, nil))
	s.conn.Ping() // so that RTT is known early; the context of the session tells that it has ended
	st, err := s.conn.Open(context.WithoutCancel(ctx))
	if err == nil {
		err = st.SendHead(controlRequest(), false, false)
	}
	if err == nil {
		s.control <- &controlStream{muxStream: muxStream{st: st}, role: mux.Client}
	} // else the session has ended, as its user will see
	return s
}

// take dispatches a request of the edge by its kind. It runs on the reading goroutine.
func (s *Session) take(st *mux.Stream) {
	switch h2head.KindOf(st.Head()) {
	case h2head.Control:
		s.mu.Lock()
		again := s.controlSeen
		s.controlSeen = true
		s.mu.Unlock()
		if again {
			st.Reset(http2.ErrCodeRefusedStream)
			return
		}
		s.control <- &controlStream{muxStream: muxStream{st: st}, role: mux.Server}
	case h2head.Configuration:
		s.startPush(st)
	case h2head.HTTP, h2head.WebSocket, h2head.TCP:
		s.mu.Lock()
		s.incoming = append(s.incoming, st)
		s.mu.Unlock()
		s.signal()
	}
}

// signal says that incoming is not empty.
func (s *Session) signal() {
	select {
	case s.arrived <- struct{}{}:
	default: // the signal is set already
	}
}

// next gives the oldest stream that was not accepted yet and has not ended, or nil.
func (s *Session) next() *mux.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.incoming) > 0 {
		st := s.incoming[0]
		s.incoming[0] = nil
		if s.incoming = s.incoming[1:]; len(s.incoming) > 0 {
			s.signal()
		} else {
			s.incoming = nil
		}
		if st.Context().Err() == nil {
			return st
		}
		st.Reset(mux.Cancelled) // the edge has reset it
	}
	return nil
}

// Admit ends the limits for peers that have not registered yet (Settings.ProbationStreams, ProbationWindow). Idempotent.
func (s *Session) Admit() { s.conn.Admit() }

// Received is the number of bytes that the peer has sent.
func (s *Session) Received() uint64 { return s.sock.received.Load() }

// RTT is the round trip of the last ping, 0 before the first.
func (s *Session) RTT() time.Duration { return s.conn.RTT() }

// Probe sends a ping.
func (s *Session) Probe() bool { return s.conn.Ping() }

// Context ends with the session; its cause is a *tunnel.ConnError.
func (s *Session) Context() context.Context { return s.conn.Context() }

// CloseWithError ends the session and all its streams, and waits for its goroutines. The peer learns the reason.
func (s *Session) CloseWithError(_ transport.Code, reason string) error {
	s.conn.Close(http2.ErrCodeNo, reason)
	s.pushes.Wait()
	return nil
}

// OpenStream at the edge's end opens a data stream. It waits while the peer's limit is reached; the peer sees the stream
// when its request is written. At the connector's end OpenStream waits for the control stream, which the edge opens.
func (s *Session) OpenStream(ctx context.Context) (transport.Stream, error) {
	if s.role == mux.Server {
		return s.awaitControl(ctx)
	}
	st, err := s.conn.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newEdgeStream(s, st), nil
}

// AcceptStream waits for a data stream at the connector's end. At the edge's end it gives the control stream; later calls
// wait for the end of the session.
func (s *Session) AcceptStream(ctx context.Context) (transport.Stream, error) {
	if s.role == mux.Client {
		return s.awaitControl(ctx)
	}
	for {
		if err := s.ended(ctx); err != nil {
			return nil, err
		}
		if st := s.next(); st != nil {
			return newConnectorStream(s, st), nil
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

// ended gives the error of the session or of ctx if one of them has ended.
func (s *Session) ended(ctx context.Context) error {
	if s.Context().Err() != nil {
		return context.Cause(s.Context()) //nolint:contextcheck // the session's own end is the reason
	}
	return ctx.Err()
}

// await waits for ready, or for the end of the session or ctx. ready may be nil.
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

// SendDatagram fails: HTTP/2 has no datagrams.
func (s *Session) SendDatagram([]byte) error {
	if s.Context().Err() != nil {
		return context.Cause(s.Context())
	}
	return transport.ErrDatagramUnsupported
}

// ReceiveDatagram waits for the end of the session or of ctx, since no datagram can arrive.
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

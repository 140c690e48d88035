package quic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var (
	_ transport.Session   = (*Session)(nil)
	_ transport.Pulse     = (*Session)(nil)
	_ transport.Prober    = (*Session)(nil)
	_ transport.Measured  = (*Session)(nil)
	_ transport.Probation = (*Session)(nil)
)

// Session is one QUIC connection, dialled or accepted.
type Session struct {
	conn *quicgo.Conn
	// udp is the socket of a dialled session, nil for an accepted one, whose socket is the listener's.
	udp *net.UDPConn
	ctx context.Context //nolint:containedctx // it is the session's own life, handed out by Context

	probation probation
	port      portWatch
}

func newSession(conn *quicgo.Conn, udp *net.UDPConn, settings Settings) *Session {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(conn.Context()))
	s := &Session{conn: conn, udp: udp, ctx: ctx}
	context.AfterFunc(conn.Context(), func() {
		// The library's context ends after the last packet was sent.
		s.closeSocket()
		s.probation.end()
		s.port.end()
		cancel(s.port.cause(s.probation.cause(context.Cause(conn.Context()))))
	})
	s.probation.start(conn, settings.ProbationBytes)
	if udp != nil {
		s.port.start(conn)
	}
	return s
}

func (s *Session) closeSocket() {
	if s.udp != nil {
		_ = s.udp.Close() // a second close is harmless
	}
}

// Admit ends the limit for peers that have not registered yet (Settings.ProbationBytes). Idempotent.
func (s *Session) Admit() { s.probation.end() }

// Context ends with the session; its cause is a *tunnel.ConnError.
func (s *Session) Context() context.Context { return s.ctx }

// CloseWithError ends the session and all its streams. When it returns, the socket of a dialled session is closed.
func (s *Session) CloseWithError(code transport.Code, reason string) error {
	err := s.conn.CloseWithError(quicgo.ApplicationErrorCode(code), reason)
	s.closeSocket()
	<-s.ctx.Done()
	if err != nil {
		return fmt.Errorf("close quic session: %w", err)
	}
	return nil
}

// OpenStream opens a stream. It waits while the peer's limit is reached.
func (s *Session) OpenStream(ctx context.Context) (transport.Stream, error) {
	st, err := s.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, s.lost(err)
	}
	return &Stream{st: st, session: s}, nil
}

// AcceptStream waits for a stream of the peer.
func (s *Session) AcceptStream(ctx context.Context) (transport.Stream, error) {
	st, err := s.conn.AcceptStream(ctx)
	if err != nil {
		return nil, s.lost(err)
	}
	return &Stream{st: st, session: s}, nil
}

// SendDatagram queues one datagram.
func (s *Session) SendDatagram(b []byte) error {
	if err := s.conn.SendDatagram(b); err != nil {
		var large *quicgo.DatagramTooLargeError
		if errors.As(err, &large) {
			return fmt.Errorf("%w: %d bytes, at most %d fit", transport.ErrDatagramTooLarge, len(b), large.MaxDatagramPayloadSize)
		}
		return fmt.Errorf("send datagram of %d bytes: %w", len(b), s.lost(err))
	}
	return nil
}

// ReceiveDatagram waits for a datagram.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	b, err := s.conn.ReceiveDatagram(ctx)
	if err != nil {
		return nil, s.lost(err)
	}
	return b, nil
}

// lost converts an error of the library. If the session ended for a reason that the library does not know, that is the error.
func (s *Session) lost(err error) error {
	err = streamError(err)
	if errors.As(err, new(*tunnel.ConnError)) {
		return s.port.cause(s.probation.cause(err))
	}
	return err
}

// Received is the number of packets that the peer has sent.
func (s *Session) Received() uint64 { return s.conn.ConnectionStats().PacketsReceived }

// RTT is the smoothed round trip.
func (s *Session) RTT() time.Duration { return s.conn.ConnectionStats().SmoothedRTT }

// Probe opens a stream and resets it, which the peer's transport has to acknowledge: the library has no call for a PING. While packets
// are not acknowledged the library sends probes by itself as well, at growing intervals (RFC 9002 6.2). Probe reports false when the
// peer's limit of streams is reached.
func (s *Session) Probe() bool {
	st, err := s.conn.OpenStream()
	if err != nil {
		return false
	}
	st.CancelRead(quicgo.StreamErrorCode(transport.NoError))
	st.CancelWrite(quicgo.StreamErrorCode(transport.NoError))
	return true
}

// Path returns what the library has measured.
func (s *Session) Path() transport.Path {
	st := s.conn.ConnectionStats()
	return transport.Path{
		MinRTT: st.MinRTT, LatestRTT: st.LatestRTT, SmoothedRTT: st.SmoothedRTT,
		CongestionWindow: st.CongestionWindow, MTU: s.mtu(),
		BytesSent: st.BytesSent, BytesReceived: st.BytesReceived,
		PacketsSent: st.PacketsSent, PacketsReceived: st.PacketsReceived, PacketsLost: st.PacketsLost,
	}
}

// The library shows its packet size only in the error for a datagram that does not fit, less shortHeader bytes for everything in a
// packet that is not payload: the first byte, the longest connection id and the seal.
const (
	shortHeader = 1 + 20 + 16
	tooLarge    = 1 << 16
)

// mtu asks for the size of packets with a datagram that fits none. Nothing is sent.
func (s *Session) mtu() uint64 {
	var large *quicgo.DatagramTooLargeError
	if !errors.As(s.conn.SendDatagram(make([]byte, tooLarge)), &large) || large.MaxDatagramPayloadSize <= 0 {
		return 0
	}
	return uint64(large.MaxDatagramPayloadSize) + shortHeader
}

// LocalAddr is the socket's address. A later dial of the same connection index asks for the same port.
func (s *Session) LocalAddr() netip.AddrPort { return addrPort(s.conn.LocalAddr()) }

// RemoteAddr is the peer's address.
func (s *Session) RemoteAddr() netip.AddrPort { return addrPort(s.conn.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

package transport

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Code is the application error code of a reset or a close (docs/spec/wire.md 4: the reference always sends 0). It is an
// alias, so that a stream also satisfies interfaces that consumers declare without importing this package.
type Code = uint64

// NoError is the only code that the wire uses.
const NoError Code = 0

// Stream is one bidirectional byte stream. A direction ends by FIN (CloseWrite, io.EOF at the peer) or by reset
// (CancelWrite, a *StreamError at the peer), and by nothing else: loss of the session is an
// *tunnel.ConnError of every stream, never io.EOF.
type Stream interface {
	io.Reader
	io.Writer
	Closer
	// Context ends when the sending side can no longer be used: the peer stopped reading, the session is lost, or the
	// write side was closed.
	Context() context.Context
	Deadliner
}

// Closer ends the two directions of a stream, each on its own.
type Closer interface {
	// CloseWrite sends FIN. Idempotent; an error means that the session is lost or this end reset its write side. A
	// peer that has stopped reading needs no FIN: that is no error.
	CloseWrite() error
	// CancelRead tells the peer to stop sending (STOP_SENDING) and makes pending and later reads fail. Idempotent.
	CancelRead(code Code)
	// CancelWrite resets the sending side; the peer's reads fail. No effect after CloseWrite was delivered. Idempotent.
	CancelWrite(code Code)
}

// Abort ends both directions of a stream at once.
func Abort(st Closer) {
	st.CancelWrite(NoError)
	st.CancelRead(NoError)
}

// Deadliner bounds reads and writes in time; the zero time means no bound.
type Deadliner interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Session is one accepted or dialled transport session.
type Session interface {
	Streams
	Datagrams
	// Context ends when the session does; context.Cause gives a *tunnel.ConnError.
	Context() context.Context
	// CloseWithError ends the session and all its streams. Idempotent.
	CloseWithError(code Code, reason string) error
	Addresses
}

// Pulse is implemented by sessions whose transport acknowledges packets by itself, as QUIC does.
type Pulse interface {
	// Received is the number of packets received so far. If something was sent and the number does not grow, the peer is
	// dead or unreachable.
	Received() uint64
}

// Prober is implemented by sessions that can ask the peer's transport for a sign of life. A living peer responds by itself, however
// busy its application is.
type Prober interface {
	// Received changes whenever something arrives from the peer.
	Received() uint64
	// RTT is the round trip to the peer, 0 while it is not known.
	RTT() time.Duration
	// Probe sends something to which a living peer responds at once, and reports false when it could not. It does not wait.
	Probe() bool
}

// Measured is implemented by sessions whose transport measures its path, as QUIC does.
type Measured interface {
	// Path returns the present figures. It costs a few loads, so that it can be asked at any time, and also after the session ended.
	Path() Path
}

// Path is what a transport knows of the path to its peer. Sizes are in bytes and contain no UDP and IP headers.
type Path struct {
	MinRTT, LatestRTT, SmoothedRTT time.Duration
	CongestionWindow               uint64
	// MTU is the largest packet that is sent now, 0 when it is not known.
	MTU uint64
	// The following only grow, but for PacketsLost: a packet that was given up may still arrive.
	BytesSent, BytesReceived     uint64
	PacketsSent, PacketsReceived uint64
	PacketsLost                  uint64
}

// Streams opens and accepts streams.
type Streams interface {
	// OpenStream opens a stream. It waits while the peer's limit of streams is reached. The peer sees the stream with its
	// first bytes.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream waits for a stream of the peer.
	AcceptStream(ctx context.Context) (Stream, error)
}

// Datagrams carries messages that may be lost, each at most one packet.
type Datagrams interface {
	// SendDatagram gives ErrDatagramTooLarge when b does not fit one packet.
	SendDatagram(b []byte) error
	ReceiveDatagram(ctx context.Context) ([]byte, error)
}

// Addresses gives the addresses of both ends.
type Addresses interface {
	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
}

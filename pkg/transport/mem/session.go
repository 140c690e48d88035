package mem

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Limits of a session.
const (
	backlog      = 1024 // streams that the peer has not accepted yet
	datagrams    = 32   // datagrams that the peer has not received yet; more are dropped
	maxDatagram  = 1200
	streamBuffer = 64 << 10
)

var errClosed = errors.New("session closed")

var _ transport.Session = (*Session)(nil)

// Session is one end of a pair.
type Session struct {
	local, remote netip.AddrPort
	peer          *Session
	accept        chan *Stream
	inbox         chan []byte
	ctx           context.Context //nolint:containedctx // it is the session's own life, handed out by Context
	cancel        context.CancelCauseFunc

	// mu guards the streams that are still open.
	mu      sync.Mutex
	streams map[*Stream]struct{}
}

// Pair makes two joined sessions. They keep the values of ctx, but do not end with it.
func Pair(ctx context.Context) (a, b *Session) {
	a = newSession(ctx, 1, 2)
	b = newSession(ctx, 2, 1)
	a.peer, b.peer = b, a
	return a, b
}

func newSession(ctx context.Context, local, remote byte) *Session {
	s := &Session{
		local:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, local}), 1),
		remote:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, remote}), 1),
		accept:  make(chan *Stream, backlog),
		inbox:   make(chan []byte, datagrams),
		streams: make(map[*Stream]struct{}),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return s
}

// Context ends with the session; its cause is a *tunnel.ConnError.
func (s *Session) Context() context.Context { return s.ctx }

// CloseWithError ends both sessions of the pair; the peer sees ReasonPeerClosed.
func (s *Session) CloseWithError(code transport.Code, reason string) error {
	s.end(&tunnel.ConnError{Reason: tunnel.ReasonNone, Code: code, Err: errClosed})
	s.peer.end(&tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Code: code, Err: errors.New("application close: " + reason)})
	return nil
}

// Lose ends both sessions as if the network between them had failed.
func (s *Session) Lose() {
	err := &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errors.New("no packet from the peer")}
	s.end(err)
	s.peer.end(err)
}

func (s *Session) end(err *tunnel.ConnError) {
	s.cancel(err)
	s.mu.Lock()
	streams := s.streams
	s.streams = nil
	s.mu.Unlock()
	for st := range streams {
		st.lose(context.Cause(s.ctx))
	}
}

// add registers a stream. It reports false when the session has ended.
func (s *Session) add(st *Stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams == nil {
		return false
	}
	s.streams[st] = struct{}{}
	return true
}

// OpenStream opens a stream. The peer sees it with its first bytes, its FIN or its reset.
func (s *Session) OpenStream(ctx context.Context) (transport.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.open()
}

func (s *Session) open() (transport.Stream, error) {
	there, back := newPipe(), newPipe()
	near := newStream(s, back, there)
	far := newStream(s.peer, there, back)
	there.onFirst = func() {
		select {
		case s.peer.accept <- far:
		case <-s.peer.ctx.Done():
		}
	}
	if !s.add(near) || !s.peer.add(far) {
		<-s.ctx.Done() // the end of the peer is followed by the end of this session
		return nil, s.over()
	}
	return near, nil
}

// over gives the reason of the session's end.
func (s *Session) over() error { return context.Cause(s.ctx) }

// AcceptStream waits for a stream of the peer.
func (s *Session) AcceptStream(ctx context.Context) (transport.Stream, error) {
	if s.ctx.Err() != nil {
		return nil, s.over()
	}
	select {
	case st := <-s.accept:
		return st, nil
	case <-s.ctx.Done():
		return nil, s.over()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// SendDatagram drops the datagram when too many wait for the peer, as a network does.
func (s *Session) SendDatagram(b []byte) error {
	if s.ctx.Err() != nil {
		return s.over()
	}
	if len(b) > maxDatagram {
		return transport.ErrDatagramTooLarge
	}
	select {
	case s.peer.inbox <- append([]byte(nil), b...):
	default:
	}
	return nil
}

// ReceiveDatagram waits for a datagram.
func (s *Session) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	if s.ctx.Err() != nil {
		return nil, s.over()
	}
	select {
	case b := <-s.inbox:
		return b, nil
	case <-s.ctx.Done():
		return nil, s.over()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// LocalAddr is an address of the documentation range.
func (s *Session) LocalAddr() netip.AddrPort { return s.local }

// RemoteAddr is the peer's LocalAddr.
func (s *Session) RemoteAddr() netip.AddrPort { return s.remote }

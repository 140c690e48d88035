package h2

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// socket is a TCP connection whose peer must read some bytes within the time stall, however long a whole write takes. It is
// below TLS, which cannot continue after a write that timed out.
type socket struct {
	net.Conn
	stall time.Duration
	// received counts the bytes that were read.
	received atomic.Uint64

	// mu guards last, the deadline of all writing; zero means none.
	mu   sync.Mutex
	last time.Time
}

// Read counts what it reads.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.received.Add(uint64(n))
	return n, err
}

// Write writes all of p, or fails when the peer reads nothing.
func (s *socket) Write(p []byte) (n int, err error) {
	for {
		if !s.arm() {
			return n, os.ErrDeadlineExceeded
		}
		m, err := s.Conn.Write(p[n:])
		n += m
		if m == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// arm sets the deadline of the next write. It reports false when the deadline of all writing has passed.
func (s *socket) arm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	by := now.Add(s.stall)
	if !s.last.IsZero() {
		if !now.Before(s.last) {
			return false
		}
		if s.last.Before(by) {
			by = s.last
		}
	}
	return s.Conn.SetWriteDeadline(by) == nil
}

// SetWriteDeadline sets the deadline of all writing. Later calls can only bring it nearer.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.IsZero() || !s.last.IsZero() && s.last.Before(t) {
		return nil
	}
	s.last = t
	return s.Conn.SetWriteDeadline(t)
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

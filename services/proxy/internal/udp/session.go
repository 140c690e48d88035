package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

// session is one socket with what belongs to it.
type session struct {
	t    *Table
	key  key
	dest netip.AddrPort
	conn net.Conn
	slot *limit.Slot
	out  outbox

	// last is when a datagram last passed, idle how long that may be ago: nanoseconds of the table's clock. An atomic
	// store per datagram replaces the resetting of a timer.
	last, idle atomic.Int64
	timer      *time.Timer // fires when the session may be idle

	// orphan says that there is no flow: read without a lock, written with flow.
	orphan atomic.Bool

	// mu guards the rest. flow changes with Table.mu held as well.
	mu     sync.Mutex
	flow   *flow       // the way back, or nil
	alone  *time.Timer // ends the session when no flow comes
	kept   [][]byte    // responses that wait for a flow
	closed bool
}

func (s *session) touch() { s.last.Store(int64(s.t.now())) }

// setIdle begins a new idle time.
func (s *session) setIdle(d time.Duration) {
	if d <= 0 {
		d = datagram.DefaultIdle
	}
	s.touch()
	s.idle.Store(int64(d))
	s.timer.Reset(d)
}

// expire is the timer's function.
func (s *session) expire() {
	idle := time.Duration(s.idle.Load())
	left := idle - (s.t.now() - time.Duration(s.last.Load()))
	if left <= 0 {
		s.t.end(s, "session idle for "+idle.String(), false)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.timer.Reset(left)
	}
}

// read passes the origin's datagrams on until the socket fails or is closed.
func (s *session) read() {
	defer s.t.wg.Done()
	receive, take := receiver(s.conn), s.received // a method value, made once
	for {
		err := receive(take)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.t.metrics.drop(readFailed)
			s.fail(err)
			return
		}
	}
}

// received passes one datagram of the origin on; p is valid during the call. The worker drops what its edge cannot take.
func (s *session) received(p []byte) {
	if len(p) > datagram.MaxFragmented {
		s.t.metrics.drop(readTooLarge)
		return
	}
	s.touch()
	s.deliver(p)
}

// fail ends the session because of its socket.
func (s *session) fail(err error) {
	s.t.end(s, cause(err), true)
}

// cause is the text of a socket's error without its addresses.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}

// deliver sends a datagram back, or keeps it while there is no way.
func (s *session) deliver(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.flow != nil {
		m := packet.Message{Type: packet.Payload, ID: s.key.id, Data: p}
		switch s.flow.push(&m, 0) {
		case pushed:
			s.t.metrics.toEdge.Inc()
			return
		case full:
			s.t.metrics.drop(writeFull)
			return
		case gone: // it is about to make an orphan of this session
		}
	}
	if !s.keep(p) {
		s.t.metrics.drop(writeFull)
	}
}

// keep holds a response until there is a flow, unless too many wait.
func (s *session) keep(p []byte) bool {
	if len(s.kept) >= keptResponses {
		return false
	}
	n := int64(len(p))
	if s.t.kept.Add(n) > int64(s.t.cfg.KeptBytes) {
		s.t.kept.Add(-n)
		return false
	}
	s.kept = append(s.kept, bytes.Clone(p))
	return true
}

// forgetKept gives the room of what waited for a flow back.
func (s *session) forgetKept() {
	for _, p := range s.kept {
		s.t.kept.Add(-int64(len(p)))
	}
	s.kept = nil
}

// bindLocked makes f the way back. first is sent ahead of all responses, if it is not nil. Table.mu is held.
func (s *session) bindLocked(f *flow, first *packet.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flow != nil {
		delete(s.flow.sessions, s)
	} else if s.orphan.Swap(false) {
		s.alone.Stop()
		s.t.metrics.orphans.Add(-1)
	}
	s.flow = f
	f.sessions[s] = struct{}{}
	if first != nil {
		f.control(first)
	}
	for _, p := range s.kept {
		m := packet.Message{Type: packet.Payload, ID: s.key.id, Data: p}
		if f.push(&m, s.t.cfg.KeptBytes) == pushed { // it was bounded when it was kept
			s.t.metrics.toEdge.Inc()
		} else {
			s.t.metrics.drop(writeFull)
		}
	}
	s.forgetKept()
}

// leaveLocked makes an orphan of the session. Table.mu is held.
func (s *session) leaveLocked(timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.flow = nil
	s.orphan.Store(true)
	s.t.metrics.orphans.Add(1)
	s.alone = time.AfterFunc(timeout, func() { s.t.abandon(s, timeout) })
}

// close ends the socket, the timers and the place under the limit. It is called once.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.forgetKept()
	s.timer.Stop()
	if s.alone != nil {
		s.alone.Stop()
	}
	if s.orphan.Swap(false) {
		s.t.metrics.orphans.Add(-1)
	}
	s.mu.Unlock()
	_ = s.conn.Close() // unblocks the reader; there is nothing to lose
	s.slot.Release()
	s.t.metrics.active.Add(-1)
}

// resultOf gives the result for a socket that could not be had.
func resultOf(err error) datagram.Result {
	if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) {
		return datagram.ResultUnreachable
	}
	return datagram.ResultNoSocket
}

package udp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// errWouldBlock says that a socket takes no datagram now.
var errWouldBlock = errors.New("socket would block")

// outbox writes datagrams to a session's socket. Usually the socket takes them at once, and the caller writes; if it does
// not, they wait for a goroutine that lives as long as they do, so that one slow socket holds up no other.
type outbox struct {
	// mu guards the rest; it is not held by the goroutine while it writes.
	mu      sync.Mutex
	try     func(p []byte) error // nil: the socket has no way to try
	queue   [][]byte
	writing bool // the goroutine runs, and everything goes through the queue
}

// init prepares for a socket.
func (o *outbox) init(conn net.Conn) {
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			o.try = trier(raw)
		}
	}
}

// send writes p to the origin, or drops it.
func (s *session) send(p []byte) {
	s.touch()
	if done, err := s.offer(p); done {
		s.wrote(err)
	}
}

// offer writes p at once if the socket takes it, and otherwise queues or drops it.
func (s *session) offer(p []byte) (done bool, err error) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.writing {
		if o.try == nil {
			return true, s.write(p)
		}
		if err := o.try(p); !errors.Is(err, errWouldBlock) {
			return true, err
		}
	}
	if len(o.queue) >= queuedWrites {
		s.t.metrics.drop(writeFull)
		return false, nil
	}
	o.queue = append(o.queue, bytes.Clone(p))
	if !o.writing && s.t.begin() {
		o.writing = true
		go s.drain()
	}
	return false, nil
}

// drain writes what waits, and ends when nothing does.
func (s *session) drain() {
	defer s.t.wg.Done()
	o := &s.out
	for {
		o.mu.Lock()
		if len(o.queue) == 0 {
			_ = s.conn.SetWriteDeadline(time.Time{}) // the socket may be closed
			o.writing, o.queue = false, nil
			o.mu.Unlock()
			return
		}
		p := o.queue[0]
		o.queue[0] = nil
		o.queue = o.queue[1:]
		o.mu.Unlock()
		s.wrote(s.write(p))
	}
}

// write waits for the socket, but not long.
func (s *session) write(p []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(p)
	return err
}

// wrote counts the result of sending a datagram. A write may report a closed port as well as a read.
func (s *session) wrote(err error) {
	switch {
	case err == nil:
		s.t.metrics.toOrigin.Inc()
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.t.metrics.drop(writeDeadlineExceeded)
	default:
		s.t.metrics.drop(writeFailed)
		if errors.Is(err, syscall.ECONNREFUSED) {
			s.fail(err)
		}
	}
}

package front

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rearmPart is the part of an idle timeout that may pass before a deadline is moved: moving it costs more than
	// asking for the time, and a timeout need not be exact.
	rearmPart = 4
	// Keep-alive probes notice a visitor whose machine or network is gone within keepAliveIdle + keepAliveCount *
	// keepAliveInterval, however long nothing is said.
	keepAliveIdle     = 30 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// listener accepts visitors, at most as many as there are seats.
type listener struct {
	net.Listener
	idle  time.Duration
	seats *seats
}

// seats counts the visitors' connections of both listeners.
type seats struct {
	max     int64
	taken   atomic.Int64
	metrics *metrics
}

func (s *seats) take() bool {
	if s.taken.Add(1) > s.max {
		s.taken.Add(-1)
		s.metrics.turnedAway.Inc()
		return false
	}
	s.metrics.connections.Inc()
	return true
}

func (s *seats) free() {
	s.taken.Add(-1)
	s.metrics.connections.Dec()
}

// listen binds addr; connections fail when a write makes no progress for idle.
func listen(addr netip.AddrPort, idle time.Duration, s *seats) (*listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	l, err := lc.Listen(context.Background(), "tcp", addr.String()) // binding an address does not wait
	if err != nil {
		return nil, err
	}
	return &listener{l, idle, s}, nil
}

// accept takes the next visitor for whom there is a seat; the others are turned away at once.
func (l *listener) accept() (*visitorConn, error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		if l.seats.take() {
			return &visitorConn{Conn: c, idle: l.idle, leave: sync.OnceFunc(l.seats.free)}, nil
		}
		reset(c)
	}
}

// visitorConn bounds how long a visitor may refuse to read. Reads are bounded by the server and by the exchange, which
// know what they wait for.
type visitorConn struct {
	net.Conn
	idle  time.Duration
	armed atomic.Int64
	leave func()
}

func (c *visitorConn) Write(p []byte) (int, error) {
	if c.idle > 0 {
		now := time.Now()
		if now.UnixNano()-c.armed.Load() > int64(c.idle/rearmPart) {
			c.armed.Store(now.UnixNano())
			if err := c.Conn.SetWriteDeadline(now.Add(c.idle)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Write(p)
}

// SetDeadline leaves the write side to Write.
func (c *visitorConn) SetDeadline(t time.Time) error {
	return c.SetReadDeadline(t)
}

// SetWriteDeadline replaces the bound until the next write finds it old.
func (c *visitorConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && c.idle > 0 {
		return nil // the bound stays
	}
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// Close ends the connection and frees its seat.
func (c *visitorConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite lets the server end its direction first.
func (c *visitorConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// reset makes the next Close of c a reset, so that the visitor does not take it for an end, and closes it.
func reset(c net.Conn) {
	for {
		switch v := c.(type) {
		case guardedTLS:
			c = v.Conn
			continue
		case *guardedConn:
			c = v.Conn
			continue
		case interface{ NetConn() net.Conn }: // TLS; closing it would say that all was sent
			c = v.NetConn()
			continue
		case *visitorConn:
			v.leave()
			c = v.Conn
			continue
		case *net.TCPConn:
			_ = v.SetLinger(0) // else the visitor sees an end, which is as much as can be said
		}
		_ = c.Close() // it is given up
		return
	}
}

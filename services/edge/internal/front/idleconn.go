package front

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// rearmPart is the part of an idle timeout that may pass before a deadline is moved: moving it costs more than asking
// for the time, and a timeout need not be exact.
const rearmPart = 4

// listen binds addr; connections fail when a write makes no progress for idle.
func listen(addr netip.AddrPort, idle time.Duration) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr.String()) // binding an address does not wait
	if err != nil {
		return nil, err
	}
	if idle <= 0 {
		return l, nil
	}
	return idleListener{l, idle}, nil
}

type idleListener struct {
	net.Listener
	idle time.Duration
}

func (l idleListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &idleConn{Conn: c, idle: l.idle}, nil
}

// idleConn bounds how long a visitor may refuse to read. Reads are bounded by the server and by the exchange, which
// know what they wait for.
type idleConn struct {
	net.Conn
	idle  time.Duration
	armed atomic.Int64
}

func (c *idleConn) Write(p []byte) (int, error) {
	now := time.Now()
	if now.UnixNano()-c.armed.Load() > int64(c.idle/rearmPart) {
		c.armed.Store(now.UnixNano())
		if err := c.SetWriteDeadline(now.Add(c.idle)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// CloseWrite lets the server end its direction first.
func (c *idleConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

package h1

import (
	"net"
	"syscall"
	"time"
)

// conn is a connection to an origin. Outside of exchanges it holds no buffer.
type conn struct {
	nc  net.Conn
	key string
	// hangUp closes the connection. It is made once, to be given to context.AfterFunc for each exchange.
	hangUp func()
	reused bool

	// raw is the socket, to check for unread bytes; nil if there is none, and then the connection serves only one exchange.
	raw   syscall.RawConn
	look  func(fd uintptr) // sets quiet; for whoever owns the connection
	quiet bool

	// Guarded by the pool's mutex.
	since time.Time // idle since
	turn  uint64    // counts the times it was idle
}

func newConn(nc net.Conn, key string) *conn {
	c := &conn{nc: nc, key: key}
	c.hangUp = c.close
	c.look = func(fd uintptr) { c.quiet = isQuiet(fd) }
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	return c
}

// close ends the connection. Nothing can be done about an error.
func (c *conn) close() { _ = c.nc.Close() }

// isIdle reports whether nothing has come from the peer, neither bytes nor the end. For the owner of the connection.
func (c *conn) isIdle() bool {
	c.quiet = false
	return c.raw.Control(c.look) == nil && c.quiet
}

// seemsIdle is isIdle for a caller that does not own the connection, which may be in use by the time it returns.
func (c *conn) seemsIdle() bool {
	quiet := false
	return c.raw.Control(func(fd uintptr) { quiet = isQuiet(fd) }) == nil && quiet
}

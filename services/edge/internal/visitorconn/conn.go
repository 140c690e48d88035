package visitorconn

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// rearmFraction is the fraction of a timeout that may pass before a deadline is moved: to move it costs more than to read
// the clock, and a timeout need not be exact.
const rearmFraction = 4

// conn is a visitor's connection. It bounds how long a write may make no progress. Reads are bounded by the server and by
// package front, which know what they wait for.
type conn struct {
	net.Conn
	writeTimeout time.Duration
	armed        atomic.Int64 // when the write deadline was moved last, in nanoseconds
	leave        func()       // gives the place of this connection in the limits back
	// remote is the address in the header of the PROXY protocol, or nil.
	remote net.Addr
	// early is what came behind that header; it belongs to the reader.
	early []byte
}

// RemoteAddr is the visitor's address, or that of a proxy that does not speak the PROXY protocol.
func (c *conn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	if c.writeTimeout > 0 {
		now := time.Now()
		if now.UnixNano()-c.armed.Load() > int64(c.writeTimeout/rearmFraction) {
			c.armed.Store(now.UnixNano())
			if err := c.Conn.SetWriteDeadline(now.Add(c.writeTimeout)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Write(p)
}

// SetDeadline sets the deadline of reads only; Write sets its own.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline replaces the deadline that Write has set, until Write moves it again.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && c.writeTimeout > 0 {
		return nil // Write's own deadline stays
	}
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// Close ends the connection and gives its place back.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// CloseWrite ends the direction to the visitor.
func (c *conn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// Reset closes a connection with a TCP reset, so that the visitor cannot mistake it for an orderly end.
func Reset(c net.Conn) {
	for {
		switch v := c.(type) {
		case guardedTLS:
			c = v.Conn
			continue
		case *guardedConn:
			c = v.Conn
			continue
		case interface{ NetConn() net.Conn }: // TLS, whose Close would announce an orderly end
			c = v.NetConn()
			continue
		case *conn:
			v.leave()
			c = v.Conn
			continue
		case *net.TCPConn:
			_ = v.SetLinger(0) // if it fails the visitor sees an orderly end, which cannot be helped
		}
		_ = c.Close() // nothing is left to be delivered
		return
	}
}

func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

package duplex

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// Conn makes an End of an origin's connection.
type Conn struct {
	// NetConn is the connection.
	NetConn net.Conn
	// From, when not nil, is read in place of the connection: bytes that came early are in front there.
	From io.Reader
	// Moved, when not nil, is called when bytes have come or gone.
	Moved func()
	// WriteTimeout bounds each Write; 0 is no limit.
	WriteTimeout time.Duration
}

var _ End = (*Conn)(nil)

// Read gives the origin's bytes.
func (c *Conn) Read(p []byte) (int, error) {
	from := c.From
	if from == nil {
		from = c.NetConn
	}
	n, err := from.Read(p)
	c.moved(n)
	return n, err
}

func (c *Conn) moved(n int) {
	if n > 0 && c.Moved != nil {
		c.Moved()
	}
}

// Write sends p.
func (c *Conn) Write(p []byte) (int, error) {
	if c.WriteTimeout > 0 {
		if err := c.NetConn.SetWriteDeadline(time.Now().Add(c.WriteTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.NetConn.Write(p)
	c.moved(n)
	return n, err
}

// CloseWrite passes the end on: FIN, over TLS the closing alert. A connection that knows no half-close is left as it is.
func (c *Conn) CloseWrite() error {
	if h, ok := c.NetConn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Abort resets a TCP connection, so that the origin does not mistake the bytes so far for a complete message.
func (c *Conn) Abort() {
	raw := c.NetConn
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn() // no alert, which could wait
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // then it is closed without a reset
	}
	_ = raw.Close() // the connection is aborted in any case
}

// Close ends the connection after its stream.
func (c *Conn) Close() {
	_ = c.NetConn.Close() // both directions have ended, or it was aborted
}

package upgrade

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
)

// Visitor is a visitor whose request asked for another protocol.
type Visitor struct {
	// Addr may be the zero value.
	Addr netip.Addr
	// Protocol is the one that was accepted.
	Protocol string
	Request  *http.Request
	Writer   *visitorconn.ResponseWriter
}

// visitorEnd is the visitor's end of an upgraded stream. Its writes are bounded in time.
type visitorEnd interface {
	io.ReadWriter
	// endWrite ends the direction to the visitor alone, if that can be done.
	endWrite() bool
	// abortWrite ends a write that makes no progress.
	abortWrite()
	// limitRead sets the deadline of reads.
	limitRead(t time.Time)
	closer
}

// closer ends both directions: abort so that the visitor sees an error, close in an orderly way. Both wake a reader.
type closer interface {
	abort()
	close()
}

// accept accepts the handshake with the header h, and sends the bytes of the connector that came behind its response.
func (v Visitor) accept(h http.Header, rest []byte) (visitorEnd, error) {
	delete(h, headpolicy.ContentLength)
	if v.Request.ProtoMajor > 1 {
		return v.acceptStream(h, rest)
	}
	return v.acceptConn(h, rest)
}

// acceptStream accepts an extended CONNECT.
func (v Visitor) acceptStream(h http.Header, rest []byte) (visitorEnd, error) {
	out := v.Writer.Header()
	for name, values := range h {
		if name != headpolicy.AcceptKey { // it responds to a key that the visitor never sent
			out[name] = values
		}
	}
	if _, typed := out["Content-Type"]; !typed {
		out["Content-Type"] = nil // keeps the server from guessing one
	}
	v.Writer.WriteHeader(http.StatusOK)
	e := &streamEnd{body: v.Request.Body, w: v.Writer}
	if _, err := e.Write(rest); err != nil { // also without bytes, to send the head
		return nil, err
	}
	return e, nil
}

// acceptConn takes the connection over from the server and accepts the handshake.
func (v Visitor) acceptConn(h http.Header, rest []byte) (visitorEnd, error) {
	c, rw, err := http.NewResponseController(v.Writer).Hijack()
	if err != nil {
		return nil, err
	}
	e := &connEnd{Conn: c}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // they are buffered
		e.early = append(e.early, early...)
	}
	h[headpolicy.Connection], h[headpolicy.Upgrade] = []string{"Upgrade"}, []string{v.Protocol}
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&head) // a buffer never fails
	head.WriteString("\r\n")
	head.Write(rest)
	if _, err := c.Write(head.Bytes()); err != nil {
		visitorconn.Reset(c)
		return nil, err
	}
	return e, nil
}

// connEnd is a visitor's connection that was taken over from the server.
type connEnd struct {
	net.Conn
	// early is what the server had read already.
	early []byte
}

func (e *connEnd) Read(p []byte) (int, error) {
	if len(e.early) == 0 {
		return e.Conn.Read(p)
	}
	n := copy(p, e.early)
	if e.early = e.early[n:]; len(e.early) == 0 {
		e.early = nil
	}
	return n, nil
}

func (e *connEnd) endWrite() bool {
	w, ok := e.Conn.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}

func (e *connEnd) limitRead(t time.Time) { _ = e.SetReadDeadline(t) } // fails only on a dead connection
func (e *connEnd) abort()                { visitorconn.Reset(e.Conn) }
func (e *connEnd) abortWrite()           { visitorconn.Reset(e.Conn) }
func (e *connEnd) close()                { _ = e.Close() } // everything was delivered

// streamEnd is a visitor's stream of an HTTP/2 connection.
type streamEnd struct {
	body io.Reader
	w    *visitorconn.ResponseWriter
}

func (e *streamEnd) Read(p []byte) (int, error) { return e.body.Read(p) }

func (e *streamEnd) Write(p []byte) (int, error) {
	n, err := e.w.Write(p)
	return n, errors.Join(err, e.w.FlushError())
}

// endWrite is not possible before the handler returns.
func (e *streamEnd) endWrite() bool { return false }

func (e *streamEnd) limitRead(t time.Time) {
	_ = http.NewResponseController(e.w).SetReadDeadline(t) // supported by the server's own writers
}
func (e *streamEnd) abortWrite() { e.w.Aborter()() }
func (e *streamEnd) abort()      { e.limitRead(time.Unix(1, 0)) } // the handler resets the stream
func (e *streamEnd) close()      { e.limitRead(time.Unix(1, 0)) }

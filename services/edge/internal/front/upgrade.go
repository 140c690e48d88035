package front

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	headerKey    = "Sec-Websocket-Key"
	headerAccept = "Sec-Websocket-Accept"
	keySize      = 16
)

// newKey makes the key that a handshake over HTTP/2 lacks (RFC 8441, 5) and an origin over HTTP/1 wants.
func newKey() string {
	var b [keySize]byte
	_, _ = rand.Read(b[:]) // crypto/rand ends the process rather than fail
	return base64.StdEncoding.EncodeToString(b[:])
}

// tryUpgrade sends the handshake of a WebSocket on one connection and, when it is accepted, carries bytes both ways
// until both ends are done. Nothing that the visitor sends after the handshake is read before that, so that a failed
// try may be followed by another.
func (x *exchange) tryUpgrade(conn *registry.Conn) outcome {
	st, unwatch, failed := x.open(conn)
	if st == nil {
		return failed
	}
	defer unwatch()
	started := time.Now()
	x.front.limitWait(st)
	rest, fin, err := x.readHead(st, nil, false)
	_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, which the next read tells
	x.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		cancelStream(st)
		o := x.failed(err, nil)
		o.again = false // the origin may have it
		return o
	}
	if x.resp.Error != "" {
		cancelStream(st)
		return x.refused()
	}
	h := make(http.Header)
	a, ok := parseHead(h, x.resp.Metadata)
	switch {
	case ok && switched(a.status, h, x.resp.Metadata, conn.Protocol):
		return x.switchProtocols(st, h, rest, fin, conn.HalfClose())
	case ok && x.r.ProtoMajor > 1 && a.status/100 == 2: // the visitor would take it for an agreement
		cancelStream(st)
		return outcome{page: noWebSocket()}
	}
	o := x.respond(st, rest, fin, nil)
	st.CancelWrite(transport.NoError)
	return o
}

// switched reports whether an answer agrees to a WebSocket. Over HTTP/2 101 travels as 200 (docs/spec/wire.md 9.4).
func switched(status int, h http.Header, md []stream.Pair, p tunnel.Protocol) bool {
	if status == http.StatusSwitchingProtocols {
		return true
	}
	return status == http.StatusOK && p == tunnel.HTTP2 && (h.Get(headerAccept) != "" || connectionOf(md) != nil)
}

// switchProtocols tells the visitor that its handshake was accepted and carries what follows.
func (x *exchange) switchProtocols(st transport.Stream, h http.Header, rest []byte, fin, halfClose bool) outcome {
	p := &pipe{front: x.front, conn: x.conn, st: st, halfClose: halfClose, upDone: make(chan struct{})}
	if !x.front.upgrades.add(p) {
		cancelStream(st)
		return outcome{page: tooManyWebSockets()}
	}
	defer x.front.upgrades.remove(p)
	delete(h, "Content-Length")
	var err error
	if x.r.ProtoMajor > 1 {
		p.visitor, err = x.acceptStream(h, rest)
	} else {
		p.visitor, err = x.acceptConn(h, rest)
	}
	if err != nil {
		cancelStream(st)
		return outcome{result: resultAborted}
	}
	x.free() // for others: this may take hours
	return outcome{result: p.run(fin)}
}

// acceptStream accepts an extended CONNECT.
func (x *exchange) acceptStream(h http.Header, rest []byte) (visitorEnd, error) {
	out := x.w.Header()
	for name, values := range h {
		if name != headerAccept { // it answers a key that the visitor never sent
			out[name] = values
		}
	}
	if _, typed := out["Content-Type"]; !typed {
		out["Content-Type"] = nil // the server must not guess
	}
	x.w.WriteHeader(http.StatusOK)
	e := &streamEnd{x: x}
	if _, err := e.Write(rest); err != nil { // also without bytes, to send the head
		return nil, err
	}
	return e, nil
}

// acceptConn takes the connection over from the server and answers the handshake.
func (x *exchange) acceptConn(h http.Header, rest []byte) (visitorEnd, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, err
	}
	e := &connEnd{Conn: c}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // it has them
		e.early = append(e.early, early...)
	}
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	var head headBuffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&head) // a buffer takes everything
	head.WriteString("\r\n")
	head.Write(rest)
	if _, err := c.Write(head.Bytes()); err != nil {
		reset(c)
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
func (e *connEnd) abort()                { reset(e.Conn) }
func (e *connEnd) cut()                  { reset(e.Conn) }
func (e *connEnd) close()                { _ = e.Close() } // all was said

// streamEnd is a visitor's stream of an HTTP/2 connection.
type streamEnd struct{ x *exchange }

func (e *streamEnd) Read(p []byte) (int, error) { return e.x.r.Body.Read(p) }

func (e *streamEnd) Write(p []byte) (int, error) {
	n, err := e.x.write(p)
	return n, errors.Join(err, e.x.flush())
}

// endWrite cannot be done before the handler returns.
func (e *streamEnd) endWrite() bool { return false }

func (e *streamEnd) limitRead(t time.Time) {
	_ = http.NewResponseController(e.x.w).SetReadDeadline(t) // supported by the server's own writers
}
func (e *streamEnd) cut()   { e.x.cutter()() }
func (e *streamEnd) abort() { e.limitRead(time.Unix(1, 0)) } // the handler resets the stream
func (e *streamEnd) close() { e.limitRead(time.Unix(1, 0)) }

package front

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
)

const (
	webSocketProtocol = "websocket"
	keySize           = 16
)

// newKey makes the key that a handshake over HTTP/2 lacks (RFC 8441 5) and an origin over HTTP/1 needs.
func newKey() string {
	var b [keySize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(b[:])
}

// attemptUpgrade sends the handshake of a WebSocket on one connection. When it is accepted, it carries bytes both ways until
// both ends are done. Nothing that the visitor sends behind the handshake is read before that, so that a failed attempt
// may be followed by another.
func (x *exchange) attemptUpgrade(conn *registry.Conn) *dispatch.Failure {
	st, unwatch, f := dispatch.Open(x.r.Context(), conn, x.head)
	if f != nil {
		return f
	}
	defer unwatch()
	started := time.Now()
	x.front.limitWait(st)
	rest, err := dispatch.ReadHead(st, x.buf[:], dispatch.Input{}, &x.resp)
	_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
	x.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		dispatch.Abort(st)
		f := x.noResponse(err, nil)
		f.Retry = false // an origin may have seen the handshake
		return f
	}
	if f := dispatch.RefusalOf(&x.resp, false); f != nil {
		dispatch.Abort(st)
		return f
	}
	h := make(http.Header)
	head, err := headpolicy.ParseResponse(h, x.resp.Metadata, x.front.header)
	switch {
	case err != nil: // respond reports it
	case accepted(head.Status, h, x.sentKey(), conn.Protocol):
		return x.switchProtocols(st, h, rest, conn.HalfClose())
	case head.Status == http.StatusSwitchingProtocols, x.r.ProtoMajor > 1 && head.Status/100 == 2:
		// The visitor must not take either for an accepted handshake.
		dispatch.Abort(st)
		x.end = x.page(noWebSocket(), "")
		return nil
	}
	f = x.respond(st, rest, nil)
	st.CancelWrite(transport.NoError)
	return f
}

// sentKey is the key of the handshake that the connector got.
func (x *exchange) sentKey() string {
	if x.key != "" {
		return x.key
	}
	return x.r.Header.Get(headpolicy.ClientKey)
}

// accepted reports whether a response accepts the handshake with this key (RFC 6455 4.1). Over HTTP/2 status 101 travels as
// 200 (docs/spec/wire.md 9.4), so that the accept key alone shows it.
func accepted(status int, h http.Header, key string, p tunnel.Protocol) bool {
	switched := status == http.StatusSwitchingProtocols || (status == http.StatusOK && p == tunnel.HTTP2)
	return switched && key != "" && h.Get(headpolicy.AcceptKey) == websocket.AcceptKey(key)
}

// switchProtocols tells the visitor that its handshake was accepted, and carries what follows.
func (x *exchange) switchProtocols(st transport.Stream, h http.Header, rest dispatch.Input, halfClose bool) *dispatch.Failure {
	p := &pipe{front: x.front, via: x.via, st: st, halfClose: halfClose, upDone: make(chan struct{})}
	p.addr, _ = netip.ParseAddr(x.visitor.Addr) // the zero value outside a server of visitorconn
	if !x.front.upgrades.add(p) {
		dispatch.Abort(st)
		x.end = x.page(tooManyWebSockets(), "")
		return nil
	}
	defer x.front.upgrades.remove(p)
	delete(h, headpolicy.ContentLength)
	var err error
	if x.r.ProtoMajor > 1 {
		p.visitor, err = x.acceptStream(h, rest.Bytes)
	} else {
		p.visitor, err = x.acceptConn(h, rest.Bytes)
	}
	if err != nil {
		dispatch.Abort(st)
		x.end = aborted
		return nil
	}
	x.free() // its memory is for other exchanges: an upgraded stream may last for hours
	x.end = p.run(rest.Ended)
	return nil
}

// acceptStream accepts an extended CONNECT.
func (x *exchange) acceptStream(h http.Header, rest []byte) (visitorEnd, error) {
	out := x.w.Header()
	for name, values := range h {
		if name != headpolicy.AcceptKey { // it responds to a key that the visitor never sent
			out[name] = values
		}
	}
	if _, typed := out["Content-Type"]; !typed {
		out["Content-Type"] = nil // keeps the server from guessing one
	}
	x.w.WriteHeader(http.StatusOK)
	e := &streamEnd{x: x}
	if _, err := e.Write(rest); err != nil { // also without bytes, to send the head
		return nil, err
	}
	return e, nil
}

// acceptConn takes the connection over from the server and accepts the handshake.
func (x *exchange) acceptConn(h http.Header, rest []byte) (visitorEnd, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, err
	}
	e := &connEnd{Conn: c}
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n) // they are buffered
		e.early = append(e.early, early...)
	}
	h[headpolicy.Connection], h[headpolicy.Upgrade] = []string{"Upgrade"}, []string{webSocketProtocol}
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
type streamEnd struct{ x *exchange }

func (e *streamEnd) Read(p []byte) (int, error) { return e.x.r.Body.Read(p) }

func (e *streamEnd) Write(p []byte) (int, error) {
	n, err := e.x.write(p)
	return n, errors.Join(err, e.x.flush())
}

// endWrite is not possible before the handler returns.
func (e *streamEnd) endWrite() bool { return false }

func (e *streamEnd) limitRead(t time.Time) {
	_ = http.NewResponseController(e.x.w).SetReadDeadline(t) // supported by the server's own writers
}
func (e *streamEnd) abortWrite() { e.x.aborter()() }
func (e *streamEnd) abort()      { e.limitRead(time.Unix(1, 0)) } // the handler resets the stream
func (e *streamEnd) close()      { e.limitRead(time.Unix(1, 0)) }

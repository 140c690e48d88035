package visitorconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

const (
	// poison makes the server refuse the head that it is reading, whatever part of it that is: as a line of its own it is
	// neither a request nor a field, and it completes no other line to a valid one. So the server itself writes the
	// refusal, after its responses to the requests before.
	poison = "!\r\n!\r\n\r\n"
	// serverRefusal is how the server's response to poison begins.
	serverRefusal = "HTTP/1.1 400 "
	// closeDelay is how long a connection stays open after a refusal, or while the visitor still sends a body that is not
	// read: to close with unread bytes would destroy the response on its way.
	closeDelay = 500 * time.Millisecond
)

// guardedConn shows the server only the bytes that the guard accepts.
type guardedConn struct {
	net.Conn
	gate *Gate
	// upgraded is set when a request asked for another protocol; later bytes are not examined.
	upgraded atomic.Bool
	refusal  atomic.Pointer[h1guard.RefusedError]
	inBody   atomic.Bool
	// poisoned says that the server has read all of the poison, so that its next response is the refusal.
	poisoned atomic.Bool

	// The fields below belong to the reader; the server has one at a time.
	guard *h1guard.Guard
	// poison is what is left to give after a refusal within a head.
	poison string
}

func newGuardedConn(c net.Conn, priorKnowledge bool, g *Gate) *guardedConn {
	limits := h1guard.Limits{Target: g.cfg.TargetBytes, Fields: g.cfg.Header.MaxFields, Bytes: g.cfg.Header.MaxBytes}
	return &guardedConn{Conn: c, guard: h1guard.New(priorKnowledge, limits), gate: g}
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if r := c.refusal.Load(); r != nil {
		return c.refuse(p, r)
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	accepted, gerr := c.guard.Feed(p[:n])
	c.publish()
	var r *h1guard.RefusedError
	if !errors.As(gerr, &r) {
		return n, err
	}
	c.gate.metrics.refused[r.Reason].Inc()
	if r.Phase != h1guard.Body {
		c.poison = poison
	}
	c.refusal.Store(r)
	if accepted > 0 {
		return accepted, nil
	}
	return c.refuse(p, r)
}

// publish keeps what others than the reader need of the guard's state.
func (c *guardedConn) publish() {
	if c.guard.Upgraded() {
		c.upgraded.Store(true)
	}
	if in := c.guard.Phase() == h1guard.Body; in != c.inBody.Load() {
		c.inBody.Store(in)
	}
}

// refuse makes the server refuse what it is reading: within a head it gets the bytes of poison, within a body an error.
func (c *guardedConn) refuse(p []byte, r *h1guard.RefusedError) (int, error) {
	if r.Phase == h1guard.Body {
		return 0, r
	}
	if c.poison == "" {
		return 0, io.EOF
	}
	n := copy(p, c.poison)
	if c.poison = c.poison[n:]; c.poison == "" {
		c.poisoned.Store(true)
	}
	return n, nil
}

// Write replaces the server's response to poison by one with the status of the refusal.
func (c *guardedConn) Write(p []byte) (int, error) {
	if !c.poisoned.Load() || !strings.HasPrefix(string(p[:min(len(p), len(serverRefusal))]), serverRefusal) {
		return c.Conn.Write(p)
	}
	if _, err := io.WriteString(c.Conn, refusalResponse(c.refusal.Load().Reason)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusalResponse is the whole response to a head that was refused.
func refusalResponse(r h1guard.Reason) string {
	status := r.Status()
	text := fmt.Sprintf("%d %s\n%s\nerror: %s\n", status, http.StatusText(status), refusalText(r), RefusalCode(r))
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"+
		"Culvert-Error: %s\r\nConnection: close\r\n\r\n%s", status, http.StatusText(status), len(text), RefusalCode(r), text)
}

func refusalText(r h1guard.Reason) string {
	switch r.Status() {
	case http.StatusRequestURITooLong:
		return "The target of this request is longer than this edge accepts."
	case http.StatusRequestHeaderFieldsTooLarge:
		return "This request has more header fields, or larger ones, than this edge accepts."
	default:
		return "This request is not well formed."
	}
}

// RefusalCode is the value of Culvert-Error for a request that the guard refused.
func RefusalCode(r h1guard.Reason) string {
	switch r.Status() {
	case http.StatusRequestURITooLong:
		return "target_too_long"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "head_too_large"
	default:
		return "malformed"
	}
}

// Close gives the visitor time to read the last response.
func (c *guardedConn) Close() error {
	if (c.refusal.Load() != nil || c.inBody.Load()) && !c.gate.closing.Load() && c.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(closeDelay)) // the connection is closed in any case
		_, _ = io.Copy(io.Discard, c.Conn)                // until the visitor closes or the time is up
	}
	return c.Conn.Close()
}

// CloseWrite ends the direction to the visitor.
func (c *guardedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// guardedTLS is a guarded connection over TLS.
type guardedTLS struct {
	*guardedConn
	tls *tls.Conn
}

// ConnectionState is what the server puts into Request.TLS.
func (c guardedTLS) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

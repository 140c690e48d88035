package front

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/h1guard"
)

const (
	// poison makes the server refuse the head that it is reading, wherever in it it is: as a line of its own it is
	// neither a request nor a header, and it completes no other line to something good. So the server itself answers
	// 400, after the answers to the requests before.
	poison = "!\r\n!\r\n\r\n"
	// farewell is how long a connection stays whose visitor is refused, or still sends a body that nobody wants, so that
	// the visitor gets the answer: closing with bytes unread destroys what is on its way.
	farewell = 500 * time.Millisecond
)

// guardedListener puts a guard before every HTTP/1 connection of a cleartext listener.
type guardedListener struct {
	*listener
	guards *guards
}

// guards is what the guarded connections of all listeners share.
type guards struct {
	metrics *metrics
	// hurry ends farewells: the servers are being closed.
	hurry atomic.Bool
}

func (l guardedListener) Accept() (net.Conn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, err
	}
	return newGuardedConn(c, true, l.guards), nil
}

// guardedConn shows the server only what the guard lets through.
type guardedConn struct {
	net.Conn
	*guards
	// upgrade says that a WebSocket was asked for, so that nothing after it is looked at any more.
	upgrade atomic.Bool
	refusal atomic.Pointer[h1guard.RefusedError]
	inBody  atomic.Bool

	// The fields below belong to the reader; the server has one at a time.
	guard *h1guard.Guard
	// poison is what is left to give after a refusal within a head.
	poison string
}

func newGuardedConn(c net.Conn, priorKnowledge bool, g *guards) *guardedConn {
	return &guardedConn{Conn: c, guard: h1guard.New(priorKnowledge), guards: g}
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if r := c.refusal.Load(); r != nil {
		return c.refuse(p, r)
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	fine, gerr := c.guard.Feed(p[:n])
	c.note()
	var r *h1guard.RefusedError
	if !errors.As(gerr, &r) {
		return n, err
	}
	c.metrics.refused[r.Reason].Inc()
	if r.Phase != h1guard.Body {
		c.poison = poison
	}
	c.refusal.Store(r)
	if fine > 0 {
		return fine, nil
	}
	return c.refuse(p, r)
}

// note keeps what others than the reader want to know.
func (c *guardedConn) note() {
	if c.guard.Upgraded() {
		c.upgrade.Store(true)
	}
	if in := c.guard.Phase() == h1guard.Body; in != c.inBody.Load() {
		c.inBody.Store(in)
	}
}

// refuse ends a head with poison, and a body with an error.
func (c *guardedConn) refuse(p []byte, r *h1guard.RefusedError) (int, error) {
	if r.Phase == h1guard.Body {
		return 0, r
	}
	if c.poison == "" {
		return 0, io.EOF
	}
	n := copy(p, c.poison)
	c.poison = c.poison[n:]
	return n, nil
}

// Close gives the visitor the time to read the last answer.
func (c *guardedConn) Close() error {
	if (c.refusal.Load() != nil || c.inBody.Load()) && !c.hurry.Load() && c.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(farewell)) // it is closed anyway
		_, _ = io.Copy(io.Discard, c.Conn)              // until the visitor closes or the time is up
	}
	return c.Conn.Close()
}

// CloseWrite lets the server end its direction first.
func (c *guardedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// guardedTLS is a guarded connection that tells the server of its TLS.
type guardedTLS struct {
	*guardedConn
	tls *tls.Conn
}

// ConnectionState is what the server looks for.
func (c guardedTLS) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

type guardKey struct{}

// withGuard lets handlers find the guard of their connection.
func withGuard(ctx context.Context, c net.Conn) context.Context {
	switch c := c.(type) {
	case *guardedConn:
		return context.WithValue(ctx, guardKey{}, c)
	case guardedTLS:
		return context.WithValue(ctx, guardKey{}, c.guardedConn)
	default:
		return ctx
	}
}

// guardOf is the guard of a request over HTTP/1, or nil.
func guardOf(ctx context.Context) *guardedConn {
	c, _ := ctx.Value(guardKey{}).(*guardedConn)
	return c
}

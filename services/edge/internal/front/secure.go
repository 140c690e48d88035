package front

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// secureListener makes the TLS handshake before the server sees a connection, since only then it is known whether there
// is HTTP/1 to guard. Handshakes run side by side, each bounded in time and all of them by the seats.
type secureListener struct {
	*listener
	tls     *tls.Config
	timeout time.Duration
	guards  *guards
	ready   chan net.Conn
	failed  chan error
	// closed ends the loop and what waits for the server.
	closed    chan struct{}
	closeOnce sync.Once
}

func newSecureListener(l *listener, conf *tls.Config, timeout time.Duration, g *guards) *secureListener {
	return &secureListener{
		listener: l, tls: conf, timeout: timeout, guards: g,
		ready: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}),
	}
}

// run accepts until the listener is closed and waits for the handshakes.
func (l *secureListener) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the server closes the listener when it is time
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for {
		c, err := l.accept()
		if err == nil {
			work.Go(func() { l.handshake(ctx, c) })
			continue
		}
		select {
		case l.failed <- err: // the server knows what to wait for
		case <-l.closed:
			return nil
		}
	}
}

func (l *secureListener) handshake(ctx context.Context, c *visitorConn) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	t := tls.Server(c, l.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		l.guards.metrics.handshakes.Inc()
		var header tls.RecordHeaderError
		if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
			_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis port speaks HTTPS.\n")
		}
		_ = c.Close() // there is nobody to tell
		return
	}
	var out net.Conn = t
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		out = guardedTLS{newGuardedConn(t, false, l.guards), t}
	}
	select {
	case l.ready <- out:
	case <-l.closed:
		_ = c.Close() // the server is gone
	}
}

func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	default:
		return false
	}
}

// Accept gives connections whose handshake is done.
func (l *secureListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends run.
func (l *secureListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.listener.Close()
}

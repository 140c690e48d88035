package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// DialConfig has the addresses and settings of a session that is dialled.
type DialConfig struct {
	// Edge is the address to dial.
	Edge netip.AddrPort
	// LocalIP is the address to dial from; the zero value lets the system choose.
	LocalIP netip.Addr
	// TLS is usually ClientTLS.
	TLS      *tls.Config
	Settings Settings
	// Applier puts configurations in force that the edge pushes (docs/spec/wire.md 9.5). Its context ends with the session.
	// Without an Applier all are refused.
	Applier Applier
}

// Dial makes a session to an edge and returns when the TLS handshake is complete. Every error is a *tunnel.ConnError with
// ReasonDial, ReasonClosed, ReasonBlocked, ReasonTLS or ReasonInternal.
func Dial(ctx context.Context, c DialConfig) (*Session, error) {
	if c.TLS == nil || !c.Edge.IsValid() {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: errors.New("http2 dial without address or TLS configuration")}
	}
	dialer := c.dialer(c.Settings.DialTimeout)
	tcp, err := dialer.DialContext(ctx, "tcp", c.Edge.String())
	if err != nil {
		return nil, dialError(fmt.Errorf("tcp dial %s: %w", c.Edge, err))
	}
	sock := &socket{Conn: tcp, stall: c.Settings.WriteTimeout}
	conn := tls.Client(sock, c.TLS)
	shakeCtx, cancel := context.WithTimeout(ctx, c.Settings.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(shakeCtx); err != nil {
		_ = tcp.Close() // the handshake's error says more
		return nil, handshakeError(fmt.Errorf("tls handshake with %s: %w", c.Edge, err))
	}
	return newConnector(ctx, conn, c), nil
}

func (c DialConfig) dialer(limit time.Duration) *net.Dialer {
	d := &net.Dialer{Timeout: limit}
	if c.LocalIP.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.LocalIP, 0))
	}
	return d
}

// portTimeout is how long the port of an edge is asked whether something still listens there.
const portTimeout = 250 * time.Millisecond

// whyLost tells an edge that lost one connection, without a word, from one that is gone. The session is over in either case; what is
// found decides whether the address is worth another attempt.
func (c DialConfig) whyLost(loss *tunnel.ConnError) *tunnel.ConnError {
	if loss.Reason != tunnel.ReasonPeerClosed {
		return loss
	}
	tcp, err := c.dialer(portTimeout).Dial("tcp", c.Edge.String()) // bounded by the dialer
	switch {
	case err == nil:
		_ = tcp.Close() // nothing was exchanged
	case errors.Is(err, syscall.ECONNREFUSED):
		return &tunnel.ConnError{Reason: tunnel.ReasonClosed, Err: fmt.Errorf("the port of the edge is closed: %w", loss.Err)}
	}
	return loss
}

// dialError classifies an error of the TCP connect.
func dialError(err error) error {
	reason := tunnel.ReasonDial
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = tunnel.ReasonClosed
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		reason = tunnel.ReasonBlocked
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS):
		reason = tunnel.ReasonInternal
	}
	return &tunnel.ConnError{Reason: reason, Err: err}
}

// handshakeError tells a peer that fails the handshake (ReasonTLS) from one that closes or does not respond (ReasonDial).
func handshakeError(err error) error {
	reason := tunnel.ReasonTLS
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		reason = tunnel.ReasonDial
	}
	return &tunnel.ConnError{Reason: reason, Err: err}
}

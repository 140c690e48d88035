package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var (
	errIdle           = errors.New("no packet from the peer within the idle timeout")
	errStatelessReset = errors.New("stateless reset: the peer does not know the session")
	errClosed         = errors.New("session closed")
)

// bindError classifies an error of binding the local socket.
func bindError(err error) error {
	reason := tunnel.ReasonDial
	switch {
	case isForbidden(err):
		reason = tunnel.ReasonBlocked
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS):
		reason = tunnel.ReasonInternal
	}
	return &tunnel.ConnError{Reason: reason, Err: err}
}

// dialError classifies an error of the handshake.
func dialError(err error) error {
	reason := tunnel.ReasonDial
	switch {
	case errors.Is(err, errPortClosed):
		reason = tunnel.ReasonClosed
	case isForbidden(err):
		reason = tunnel.ReasonBlocked
	case isTLS(err):
		reason = tunnel.ReasonTLS
	}
	return &tunnel.ConnError{Reason: reason, Err: err}
}

func isForbidden(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}

func isTLS(err error) bool {
	var te *quicgo.TransportError
	if errors.As(err, &te) && te.ErrorCode.IsCryptoError() {
		return true
	}
	var ce *tls.CertificateVerificationError
	return errors.As(err, &ce)
}

// sessionError classifies the end of an established session.
func sessionError(err error) *tunnel.ConnError {
	var (
		own  *tunnel.ConnError
		app  *quicgo.ApplicationError
		idle *quicgo.IdleTimeoutError
		rst  *quicgo.StatelessResetError
		te   *quicgo.TransportError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &app) && app.Remote:
		text := errors.New(strings.TrimSuffix("application close: "+app.ErrorMessage, ": "))
		return &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Code: uint64(app.ErrorCode), Err: text}
	case errors.As(err, &app):
		return &tunnel.ConnError{Reason: tunnel.ReasonNone, Code: uint64(app.ErrorCode), Err: errClosed}
	case errors.As(err, &idle):
		return &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errIdle}
	case errors.As(err, &rst):
		return &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: errStatelessReset}
	case errors.As(err, &te) && te.Remote:
		return &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Code: uint64(te.ErrorCode), Err: err}
	case isForbidden(err):
		return &tunnel.ConnError{Reason: tunnel.ReasonBlocked, Err: err}
	case errors.Is(err, context.Canceled) || err == nil:
		return &tunnel.ConnError{Reason: tunnel.ReasonNone, Err: errClosed}
	default:
		return &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: err}
	}
}

// streamError converts an error of a stream. io.EOF stays io.EOF: only FIN causes it.
func streamError(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
		return err
	}
	var se *quicgo.StreamError
	if errors.As(err, &se) {
		return &transport.StreamError{Code: uint64(se.ErrorCode), Remote: se.Remote}
	}
	var (
		app  *quicgo.ApplicationError
		idle *quicgo.IdleTimeoutError
		rst  *quicgo.StatelessResetError
		te   *quicgo.TransportError
	)
	if errors.As(err, &app) || errors.As(err, &idle) || errors.As(err, &rst) || errors.As(err, &te) {
		return sessionError(err)
	}
	return err
}

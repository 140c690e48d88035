package mux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var (
	errClosed      = errors.New("session closed")
	errIdle        = errors.New("no answer to a ping within the timeout")
	errStalled     = errors.New("the peer takes no bytes")
	errWriteClosed = errors.New("write after the end")
	errHeadTwice   = errors.New("a second head on one stream")
	errNoHead      = errors.New("body before the head")
	errDraining    = errors.New("the peer takes no new streams")
	errExhausted   = errors.New("no stream number is left")
	errHeadTooBig  = errors.New("head is larger than the peer takes")
)

// protocolError is a mistake of the peer that ends the connection.
type protocolError struct {
	code http2.ErrCode
	text string
}

func (e *protocolError) Error() string { return fmt.Sprintf("http2 %s: %s", e.code, e.text) }

func violation(code http2.ErrCode, text string) error { return &protocolError{code, text} }

// codeOf is what a peer is told when err ends the connection.
func codeOf(err error) http2.ErrCode {
	var (
		own *protocolError
		ce  http2.ConnectionError
	)
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &ce):
		return http2.ErrCode(ce)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return http2.ErrCodeFrameSize
	default:
		return http2.ErrCodeNo
	}
}

// lossOf says why reading or writing failed.
func lossOf(err error) *tunnel.ConnError {
	var own *tunnel.ConnError
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return &tunnel.ConnError{Reason: tunnel.ReasonBlocked, Err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errStalled}
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &tunnel.ConnError{Reason: tunnel.ReasonPeerClosed, Err: noEOF(err)}
	default:
		return &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: err}
	}
}

// noEOF hides io.EOF: the loss of a session must never look like the end of a stream.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection closed by the peer")
	}
	return err
}

func byPeer(code http2.ErrCode) error {
	return &transport.StreamError{Code: transport.Code(code), Remote: true}
}

func byUs(code http2.ErrCode) error {
	return &transport.StreamError{Code: transport.Code(code)}
}

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
	errIdle        = errors.New("no frame within the timeout after a ping")
	errStalled     = errors.New("the peer reads no bytes")
	errWriteClosed = errors.New("write after the end")
	errHeadTwice   = errors.New("second header on one stream")
	errNoHead      = errors.New("body before the header")
	errDraining    = errors.New("the peer accepts no new streams")
	errExhausted   = errors.New("all stream ids are used")
	errHeadTooBig  = errors.New("header exceeds the limit of the peer")
)

// protocolError is an error of the peer that ends the connection.
type protocolError struct {
	code http2.ErrCode
	text string
}

func (e *protocolError) Error() string { return fmt.Sprintf("http2 %s: %s", e.code, e.text) }

// violation makes a protocolError.
func violation(code http2.ErrCode, text string) error { return &protocolError{code, text} }

// codeOf gives the code of the GOAWAY that is sent when err ends the connection. ErrCodeNo means that none is sent.
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

// lossOf classifies an error of reading or writing.
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

// byPeer is the error of a stream that the peer has reset, or that was reset because of an error of the peer.
func byPeer(code http2.ErrCode) error {
	return &transport.StreamError{Code: transport.Code(code), Remote: true}
}

// byUs is the error of a stream that this end has reset.
func byUs(code http2.ErrCode) error {
	return &transport.StreamError{Code: transport.Code(code)}
}

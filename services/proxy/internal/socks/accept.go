package socks

import (
	"errors"
	"fmt"
	"io"
)

// Accept reads greeting and request of a client, and sends the refusal of what is not served before it returns the error. The client
// waits for Respond next. rest are bytes that came with the request and belong to the connection.
func Accept(rw io.ReadWriter) (r Request, rest []byte, err error) {
	buf := make([]byte, 0, MaxGreeting+MaxRequest)
	var open bool
	var n int
	buf, err = read(rw, buf, func(b []byte) error {
		open, n, err = ParseGreeting(b)
		return err
	})
	if err != nil {
		return Request{}, nil, fmt.Errorf("socks greeting: %w", err)
	}
	if _, err := rw.Write(AppendMethod(nil, open)); err != nil {
		return Request{}, nil, fmt.Errorf("socks greeting: %w", err)
	}
	if !open {
		return Request{}, nil, ErrMethod
	}
	buf = append(buf[:0], buf[n:]...)
	buf, err = read(rw, buf, func(b []byte) error {
		r, n, err = ParseRequest(b)
		return err
	})
	if errors.Is(err, ErrAddress) {
		return Request{}, nil, errors.Join(err, Respond(rw, BadAddressType, Address{}))
	}
	if err != nil {
		return Request{}, nil, fmt.Errorf("socks request: %w", err)
	}
	if r.Command != Connect {
		return Request{}, nil, errors.Join(ErrCommand, Respond(rw, BadCommand, Address{}))
	}
	return r, buf[n:], nil
}

// Respond ends the handshake: a is the local address of the new connection, or the destination that was refused.
func Respond(w io.Writer, r Reply, a Address) error {
	if _, err := w.Write(AppendReply(nil, r, a)); err != nil {
		return fmt.Errorf("socks reply: %w", err)
	}
	return nil
}

// read reads until parse has enough. The buffer holds the largest message.
func read(from io.Reader, buf []byte, parse func([]byte) error) ([]byte, error) {
	for {
		err := parse(buf)
		if !errors.Is(err, ErrShort) {
			return buf, err
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			if err == io.EOF { //nolint:errorlint // only the bare value is an orderly end
				err = io.ErrUnexpectedEOF
			}
			return buf, err
		}
	}
}

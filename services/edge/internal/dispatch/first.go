package dispatch

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry/doubt"
)

// ErrDoubt says that a connection is in doubt, and that the request may be sent on another one.
var ErrDoubt = errors.New("nothing arrives from the connector any more")

// Leaver decides whether a request leaves a connection in doubt for another one.
type Leaver interface {
	Leaves(doubted *registry.Conn) bool
}

// First waits for the first bytes of the response to a request that may be sent again. It is a reader of the stream, for the bytes of
// the head that come later.
type First struct {
	Conn   *registry.Conn
	Stream transport.Stream
	// Limit ends the wait for the head in any case; the zero time does not.
	Limit time.Time
	// Leaver decides whether the request leaves a connection in doubt.
	Leaver Leaver
	// bounded says that reads have Limit as their deadline, as those after Wait must.
	bounded bool
}

// Wait reads the first bytes into buf. It fails with ErrDoubt when the request is to be sent on another connection, and with
// os.ErrDeadlineExceeded at Limit.
//
// Most responses come before a connection can be in doubt, so that their wait costs one deadline and nothing else.
func (f *First) Wait(buf []byte) (Input, error) {
	n, err := f.readUntil(buf, time.Now().Add(doubt.After))
	for n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		switch {
		case !f.Limit.IsZero() && !time.Now().Before(f.Limit):
			return Input{}, err
		case !f.Conn.InDoubt():
			n, err = f.readWhileTrusted(buf)
		case f.Leaver.Leaves(f.Conn):
			return Input{}, ErrDoubt
		default: // another connection may come, and this one may be trusted again
			n, err = f.readUntil(buf, time.Now().Add(doubt.After))
		}
	}
	if n > 0 {
		return Input{Bytes: buf[:n], Ended: err == io.EOF}, nil //nolint:errorlint // the bare value is the contract of io.Reader
	}
	return Input{Ended: err == io.EOF}, noEOF(err) //nolint:errorlint // as above
}

// noEOF hides the end of the stream, which Input tells.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // as above
		return nil
	}
	return err
}

// readUntil reads until a time, at most until Limit.
func (f *First) readUntil(buf []byte, t time.Time) (int, error) {
	if !f.Limit.IsZero() && f.Limit.Before(t) {
		t = f.Limit
	}
	_ = f.Stream.SetReadDeadline(t) // fails only on a dead stream, where the read fails as well
	return f.Stream.Read(buf)
}

// readWhileTrusted reads until the connection comes into doubt.
func (f *First) readWhileTrusted(buf []byte) (int, error) {
	_ = f.Stream.SetReadDeadline(f.Limit) // as above
	woken := make(chan struct{})
	stop := context.AfterFunc(f.Conn.Trusted(), func() {
		defer close(woken)
		_ = f.Stream.SetReadDeadline(time.Unix(1, 0)) // as above
	})
	n, err := f.Stream.Read(buf)
	if !stop() {
		<-woken // it must not move a deadline that is set later
	}
	return n, err
}

// Read reads more of the stream after Wait.
func (f *First) Read(p []byte) (int, error) {
	if !f.bounded {
		f.bounded = true
		_ = f.Stream.SetReadDeadline(f.Limit) // as above
	}
	return f.Stream.Read(p)
}

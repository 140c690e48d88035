package flow

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// errBodyClosed is what a read gets after the flow or the origin's client has ended the body.
var errBodyClosed = errors.New("request body closed")

// body is the request's body: first the bytes that came with the head, then the stream's, up to the declared length or
// FIN. The origin's client may read it from a goroutine of its own, and even after its response; finish makes sure that
// no read is left when the flow ends.
type body struct {
	s      link.Stream
	closed atomic.Bool

	mu    sync.Mutex // held during a read; guards the fields below
	first []byte
	left  int64 // unknownLength until FIN
	err   error // sticky
	read  int64 // bytes given out
	most  int64 // bytes that the body may have, if bounded is set
	// bounded says that the rule has a limit.
	bounded bool
	// wanted, when not nil, is called before the first read.
	wanted func()
	// frames, when not nil, takes the frames off.
	frames *frames
}

// untouched reports whether nothing was read.
func (b *body) untouched() bool {
	if !b.mu.TryLock() {
		return false // a read waits for the edge
	}
	defer b.mu.Unlock()
	return b.read == 0 && b.err == nil && !b.closed.Load()
}

// complete reports whether all of it was read.
func (b *body) complete() bool {
	if !b.mu.TryLock() {
		return false // a read waits for the edge
	}
	defer b.mu.Unlock()
	return b.left == 0 || b.err == io.EOF //nolint:errorlint // only the bare value is the end
}

// frames is the layout of a framed body.
type frames struct {
	stream.Deframer
	// trailer gets the trailers before the body's reader sees io.EOF; it holds the announced names until then.
	trailer http.Header
	limits  httpfield.Limits // of the trailers
}

// Read gives the next bytes. A stream that ends before the declared length is io.ErrUnexpectedEOF.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.wanted != nil {
		b.wanted()
		b.wanted = nil
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.readSome(p)
	if b.frames != nil {
		n, err = b.strip(p, n, err)
	}
	if b.left > 0 {
		b.left -= int64(n)
	}
	b.read += int64(n)
	switch {
	case b.bounded && b.read > b.most:
		n, err = 0, errBodyLimit
	case b.left == 0:
		err = io.EOF
	case err == io.EOF && b.left > 0: //nolint:errorlint // only the bare value is FIN; an error that wraps it is an abort
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	return n, err
}

func (b *body) readSome(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.s.Read(p)
}

// strip takes the frames off what was read, and reads on until there is data or the end.
func (b *body) strip(p []byte, n int, err error) (int, error) {
	for {
		fin := err == io.EOF //nolint:errorlint // only the bare value is FIN; an error that wraps it is an abort
		data, ferr := b.frames.Strip(p[:n])
		if fin && ferr == nil {
			ferr = b.frames.End()
		}
		switch {
		case ferr != nil:
			return data, badRequest(ferr.Error())
		case fin:
			if terr := fillTrailer(b.frames.trailer, b.frames.Trailers(), b.frames.limits); terr != nil {
				return data, terr
			}
			return data, err
		case data > 0 || err != nil:
			return data, err
		}
		n, err = b.readSome(p)
	}
}

// Close lets later reads fail. It does not wait for a running one.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}

// finish ends the body and waits for a running read, which it breaks by giving up the stream's reading side. Call it
// after the response has been closed or aborted.
func (b *body) finish() {
	b.closed.Store(true)
	if !b.mu.TryLock() {
		b.s.Abort() // the response is closed, so this only stops reading
		b.mu.Lock()
	}
	b.first = nil
	b.mu.Unlock()
}

// failure is the error that reading the body ended with, if it was the edge's doing.
func (b *body) failure() error {
	if !b.mu.TryLock() {
		return nil // still reading, so it has not failed
	}
	defer b.mu.Unlock()
	if b.err == io.EOF { //nolint:errorlint // only the bare value is FIN; an error that wraps it is an abort
		return nil
	}
	return b.err
}

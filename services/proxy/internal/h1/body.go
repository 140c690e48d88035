package h1

import (
	"context"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

// roundTrip is one request on one connection, up to the end of the response's body.
type roundTrip struct {
	t    *Transport
	c    *conn
	req  *http.Request
	in   *reader
	up   *upload     // nil without a request body
	stop func() bool // ends the watch on the request's context; nil without one
	// heard says that a head has come, if only an interim one.
	heard bool
}

// cause is the reason for an error: the end of the request's context if it has ended, as that closes the connection.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// release ends the watch on the context. It reports false if the connection was or is being closed by it.
func (x *roundTrip) release() bool { return x.stop == nil || x.stop() }

// finish gives the connection back after a complete response, or closes it.
func (x *roundTrip) finish(reusable bool) {
	reusable = reusable && x.in.buffered() == 0 && (x.up == nil || x.up.settle())
	if x.release() && reusable {
		x.t.idle.put(x.c)
	} else {
		x.c.close()
	}
	x.drop()
}

// abort ends an exchange that did not get to its end.
func (x *roundTrip) abort() {
	x.release()
	x.c.close()
	x.drop()
}

func (x *roundTrip) drop() {
	if x.up != nil {
		x.up.stop()
	}
	x.t.readers.put(x.in)
}

// response is a response with its body, in one piece of memory.
type response struct {
	res  http.Response
	body body
}

// body is the body of a response. The connection goes back to the pool when it is read to its end.
type body struct {
	// open is the connection while the exchange goes on. Whoever takes it out ends the exchange.
	open   atomic.Pointer[conn]
	closed atomic.Bool

	mu      sync.Mutex // held during a read; guards the rest
	x       roundTrip
	framing h1codec.Framing
	left    int64 // when sized
	closes  bool
	chunks  h1codec.Dechunker
	trailer *http.Header // of the response
	err     error        // sticky
}

var _ io.ReadCloser = (*body)(nil)

// Read gives the end together with the last bytes when it is known by then.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		b.err = b.endLocked(err)
	}
	return n, b.err
}

func (b *body) read(p []byte) (int, error) {
	switch b.framing {
	case h1codec.Sized:
		n, err := b.x.in.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		switch {
		case b.left == 0:
			return n, io.EOF
		case isEnd(err):
			err = io.ErrUnexpectedEOF
		}
		return n, err
	case h1codec.Chunked:
		return b.readChunks(p)
	case h1codec.UntilClose:
		return b.x.in.Read(p)
	case h1codec.NoBody:
	}
	return 0, io.EOF
}

// readChunks gives data of a chunked body. Once it has some it goes on only with what is in the buffer, so that it never waits while it
// has data, and reports the end together with the last bytes if possible.
func (b *body) readChunks(p []byte) (n int, err error) {
	in := b.x.in
	for err == nil {
		if left := b.chunks.Data(); left > 0 {
			if n == len(p) || n > 0 && in.buffered() == 0 {
				return n, nil
			}
			var m int
			m, err = in.Read(p[n:min(int64(len(p)), int64(n)+left)])
			b.chunks.Took(m)
			n += m
			continue
		}
		var size int
		size, err = b.chunks.Step(in.unread())
		in.r += size
		switch {
		case isEnd(err):
			b.addTrailer()
			return n, err
		case err != nil || size > 0:
		case n > 0:
			return n, nil
		default:
			err = in.fill()
		}
	}
	if isEnd(err) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// addTrailer adds the trailer fields to those that the head announced.
func (b *body) addTrailer() {
	if *b.trailer == nil {
		*b.trailer = b.chunks.Trailer
		return
	}
	maps.Copy(*b.trailer, b.chunks.Trailer)
}

// endLocked ends the exchange for a reason, io.EOF being the good one, and gives the error for the reader.
func (b *body) endLocked(err error) error {
	ctx := b.x.req.Context()
	if b.open.Swap(nil) == nil { // closed meanwhile
		b.x.drop()
		if isEnd(err) {
			return err
		}
		return cause(ctx, errBodyClosed)
	}
	if isEnd(err) {
		b.x.finish(!b.closes)
		return err
	}
	b.x.abort()
	return cause(ctx, err)
}

// Close ends the exchange if the body was not read to its end. No read of the request's body begins after it.
func (b *body) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if b.open.Swap(nil) == nil {
		return nil
	}
	b.x.release()
	b.x.c.close()
	if b.x.up != nil {
		b.x.up.stop()
	}
	b.mu.Lock() // a read under way ends now
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = errBodyClosed
		b.x.drop()
	}
	return nil
}

package opener

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// pieceSize is how much of a request's body is read at a time.
const pieceSize = 32 << 10

// errBodyClosed is what a read gets after the body was closed.
var errBodyClosed = errors.New("request body closed")

// interruptible lets the read of a request's body end when it is not needed any more: the body is closed, the connection is,
// or the context ends. A read of a flow's body waits for the edge whatever happens, and net/http waits for that read
// when an exchange fails, and looks at the end of the context of an HTTP/2 exchange only between reads; so an origin that
// is lost, or an abandoned response, would go unnoticed until the visitor sends more.
type interruptible struct{ *http.Transport }

// RoundTrip runs an exchange with a body whose Close breaks its Read.
func (t interruptible) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return t.Transport.RoundTrip(req)
	}
	ctx := req.Context()
	p := &pump{from: req.Body, pieces: make(chan piece), taken: make(chan struct{}), stop: make(chan struct{})}
	p.unwatch = context.AfterFunc(ctx, p.interrupt)
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: p.gotConn})) // a copy
	req.Body = p
	return t.Transport.RoundTrip(req)
}

// piece is the result of one read: bytes in the buffer of the pump, and the error.
type piece struct {
	b   []byte
	err error
}

// buffers are those of pumps.
var buffers = sync.Pool{New: func() any { return new([pieceSize]byte) }} //nolint:gochecknoglobals // a pool of plain memory

// pump is a body that is read by a goroutine of its own. The goroutine begins with the first read, is never ahead by more
// than one piece, and ends with the body, or when a read returns after Close; breaking that read is for the owner of the
// body below.
type pump struct {
	from    io.ReadCloser
	pieces  chan piece
	taken   chan struct{}
	stop    chan struct{}
	unwatch func() bool
	gone    atomic.Pointer[watchedConn] // the exchange's connection

	begin, end sync.Once

	// Of the one reader.
	rest piece
	err  error
}

func (p *pump) run() {
	buf, _ := buffers.Get().(*[pieceSize]byte)
	for {
		n, err := p.from.Read(buf[:])
		select {
		case p.pieces <- piece{buf[:n], err}:
		case <-p.stop:
			return // a read may still be copying from the buffer, so it is not used again
		}
		select { // the reader is done with the buffer, also after the last piece
		case <-p.taken:
		case <-p.stop:
			return
		}
		if err != nil {
			buffers.Put(buf)
			return
		}
	}
}

// Read gives the next bytes, or an error as soon as the body is closed.
func (p *pump) Read(b []byte) (int, error) {
	if p.err != nil || len(b) == 0 {
		return 0, p.err
	}
	p.begin.Do(func() { go p.run() }) // its end: see pump
	var gone <-chan struct{}
	if c := p.gone.Load(); c != nil {
		gone = c.gone
	}
	for len(p.rest.b) == 0 {
		select {
		case p.rest = <-p.pieces:
		case <-gone:
			p.interrupt()
			p.err = errBodyClosed
			return 0, p.err
		case <-p.stop:
			p.err = errBodyClosed
			return 0, p.err
		}
		if len(p.rest.b) == 0 {
			if p.finish(); p.err != nil {
				return 0, p.err
			}
		}
	}
	n := copy(b, p.rest.b)
	if p.rest.b = p.rest.b[n:]; len(p.rest.b) == 0 {
		p.finish()
	}
	return n, p.err
}

// finish gives the buffer back to the goroutine.
func (p *pump) finish() {
	p.err = p.rest.err
	select {
	case p.taken <- struct{}{}:
	case <-p.stop:
	}
	if p.err != nil {
		p.unwatch()
	}
}

// Close breaks a read.
func (p *pump) Close() error {
	p.unwatch()
	p.interrupt()
	return p.from.Close()
}

// gotConn learns which connection the exchange has.
func (p *pump) gotConn(info httptrace.GotConnInfo) {
	c := info.Conn
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if w, ok := c.(*watchedConn); ok {
		p.gone.Store(w)
	}
}

// watchedConn closes gone when it is closed.
type watchedConn struct {
	net.Conn
	gone chan struct{}
	end  sync.Once
}

// watched lets a dial function give watched connections.
func watched(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: c, gone: make(chan struct{})}, nil
	}
}

// Unwrap returns the connection inside, which has more methods.
func (c *watchedConn) Unwrap() net.Conn { return c.Conn }

// Close closes the connection.
func (c *watchedConn) Close() error {
	c.end.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

func (p *pump) interrupt() { p.end.Do(func() { close(p.stop) }) }

package h1

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

const (
	// bufSize is the size of a read buffer. Only a larger response head makes it grow, for that exchange.
	bufSize = 8 << 10
	// directRead is the size from which a read goes past the buffer.
	directRead = 4 << 10
)

// isEnd reports whether an error of a Read is the end of what was to be read.
func isEnd(err error) bool {
	return err == io.EOF //nolint:errorlint // an error that wraps io.EOF is a failure, not the end
}

// reader buffers what comes from a connection during one exchange. buf[r:w] is unread.
type reader struct {
	nc   net.Conn
	buf  []byte
	r, w int
}

// readers keeps buffers between exchanges.
type readers struct{ pool sync.Pool }

func (p *readers) take(nc net.Conn) *reader {
	in, ok := p.pool.Get().(*reader)
	if !ok {
		in = &reader{buf: make([]byte, bufSize)}
	}
	in.nc = nc
	return in
}

// put takes a reader back; one that a large head has grown goes to the garbage collector.
func (p *readers) put(in *reader) {
	if len(in.buf) != bufSize {
		return
	}
	in.nc, in.r, in.w = nil, 0, 0
	p.pool.Put(in)
}

func (in *reader) buffered() int { return in.w - in.r }

func (in *reader) unread() []byte { return in.buf[in.r:in.w] }

// fill reads once and adds at least one byte, or gives an error; errBufferFull when there is no room.
func (in *reader) fill() error {
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w == len(in.buf) && in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	case in.w == len(in.buf):
		return errBufferFull
	}
	n, err := in.nc.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// readHead reads the next head of at most limit bytes, up to and with its blank line. io.EOF means that it has not begun.
func (in *reader) readHead(limit, maxLines int) (text string, lines int, err error) {
	scan := h1codec.Scanner{MaxBytes: limit, MaxLines: maxLines}
	for {
		size, err := scan.Scan(in.unread())
		if err != nil {
			return "", 0, err
		}
		if size > 0 {
			text = string(in.buf[in.r : in.r+size])
			in.r += size
			return text, scan.Fields(), nil
		}
		if err := in.more(); err != nil {
			return "", 0, err
		}
	}
}

// more reads on within a head. io.EOF means that the head has not begun.
func (in *reader) more() error {
	err := in.fill()
	if errors.Is(err, errBufferFull) {
		in.grow()
		err = in.fill()
	}
	if isEnd(err) && in.buffered() > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// grow doubles the buffer.
func (in *reader) grow() {
	buf := make([]byte, 2*len(in.buf))
	in.w = copy(buf, in.unread())
	in.r, in.buf = 0, buf
}

// Read gives what is buffered, else reads once.
func (in *reader) Read(p []byte) (int, error) {
	if in.r == in.w {
		if len(p) >= directRead {
			return in.nc.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.unread())
	in.r += n
	return n, nil
}

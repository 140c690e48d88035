package link

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// maxControl is the largest payload that we take of a frame other than DATA.
const maxControl = 4 << 10

var errProtocol = errors.New("link protocol violated")

// frameReader reads frames in place. It has a buffer only while a flow runs.
type frameReader struct {
	nc   net.Conn
	bufs *buffers
	in   *buffer
	// small is where an idle connection reads to when it cannot wait without a buffer.
	small []byte
}

// release gives the buffer back; what is left unread in it is lost, so there must be nothing.
func (f *frameReader) release() {
	f.bufs.put(f.in)
	f.in = nil
}

func (f *frameReader) buffered() int { return f.in.w - f.in.r }

// fill reads once. A buffer that was filled to the brim means bulk, and is replaced by a large one.
func (f *frameReader) fill() error {
	in := f.in
	switch {
	case in.r == in.w:
		if in.w == len(in.b) {
			f.in = f.bufs.grow(in)
			in = f.in
		}
		in.r, in.w = 0, 0
	case in.w == len(in.b):
		in.w = copy(in.b, in.b[in.r:in.w])
		in.r = 0
	}
	n, err := f.nc.Read(in.b[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return noEOF(err)
}

// header reads the next header.
func (f *frameReader) header() (frame.Header, error) {
	for f.buffered() < frame.HeaderSize {
		if err := f.fill(); err != nil {
			return frame.Header{}, err
		}
	}
	h, err := frame.ParseHeader(f.in.b[f.in.r:f.in.w])
	if err != nil {
		return frame.Header{}, err
	}
	f.in.r += frame.HeaderSize
	return h, nil
}

// payload reads the whole payload of a frame other than DATA. It is valid until the next read.
func (f *frameReader) payload(h frame.Header) ([]byte, error) {
	n := int(h.Length)
	if n > maxControl {
		return nil, fmt.Errorf("frame type %d of %d bytes: %w", h.Type, n, errProtocol)
	}
	for f.buffered() < n {
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
	p := f.in.b[f.in.r : f.in.r+n]
	f.in.r += n
	return p, nil
}

// noEOF maps the end of a connection to an error: only FIN ends a direction in order.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // a wrapped one is an error already
		return io.ErrUnexpectedEOF
	}
	return err
}

// isTimeout reports whether err is a read deadline, which we use to interrupt reads.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

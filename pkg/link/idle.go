package link

import (
	"errors"
	"io"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// errIdleEOF is the end of a connection between two flows: the only place where it is in order.
var errIdleEOF = errors.New("link connection closed while idle")

// idleRead is what readIdle got.
type idleRead struct {
	n   int
	err error
}

// readHeaderFirst is readIdle for connections that cannot be waited for without reading, TLS above all.
func (f *frameReader) readHeaderFirst() error {
	if f.small == nil {
		f.small = make([]byte, frame.HeaderSize)
	}
	n, err := f.nc.Read(f.small)
	if n == 0 {
		if errors.Is(err, io.EOF) {
			return errIdleEOF
		}
		return err
	}
	f.in = f.bufs.get(smallBuffer)
	f.in.w = copy(f.in.b, f.small[:n])
	return nil
}

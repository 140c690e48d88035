package link

import (
	"crypto/tls"
	"net"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// frameWriter writes whole frames, one system call each where the kernel allows.
type frameWriter struct {
	nc net.Conn
	// joins says that the connection writes two slices in one system call; TLS does not.
	joins bool

	// mu guards the rest and keeps frames whole.
	mu  sync.Mutex
	vec [2][]byte
	nb  net.Buffers
}

func (f *frameWriter) init(nc net.Conn) {
	_, isTLS := nc.(*tls.Conn)
	f.nc, f.joins = nc, !isTLS
}

// writeFrame writes one frame that is not part of a flow's data.
func (f *frameWriter) writeFrame(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.nc.Write(b)
	return err
}

// flushLocked writes the DATA frame whose payload is out.b[HeaderSize:out.w] followed by p.
func (f *frameWriter) flushLocked(out *buffer, id uint32, p []byte, fin bool) error {
	h := frame.Header{Type: frame.Data, Length: uint16(out.w - frame.HeaderSize + len(p)), Stream: id}
	if fin {
		h.Flags = frame.FlagFIN
	}
	h.Put(out.b)
	head := out.b[:out.w]
	out.w = frame.HeaderSize
	if len(p) == 0 {
		_, err := f.nc.Write(head)
		return err
	}
	f.vec[0], f.vec[1] = head, p
	f.nb = f.vec[:]
	_, err := f.nb.WriteTo(f.nc)
	f.vec[0], f.vec[1], f.nb = nil, nil, nil
	return err
}

// sendLocked writes what out holds, then p, as DATA frames; the last one carries FIN if fin is set. It returns the
// buffer to go on with, which may be a larger one.
func (f *frameWriter) sendLocked(bufs *buffers, out *buffer, id uint32, p []byte, fin bool) (*buffer, error) {
	for {
		room := len(out.b) - out.w
		if len(p) <= room {
			out.w += copy(out.b[out.w:], p)
			return out, f.flushLocked(out, id, nil, fin)
		}
		if f.joins {
			n := min(len(p), maxData-(out.w-frame.HeaderSize))
			last := n == len(p)
			if err := f.flushLocked(out, id, p[:n], fin && last); err != nil || last {
				return out, err
			}
			p = p[n:]
			continue
		}
		if len(out.b) < largeBuffer {
			out = bufs.grow(out)
			continue
		}
		out.w += copy(out.b[out.w:], p[:room])
		p = p[room:]
		if err := f.flushLocked(out, id, nil, false); err != nil {
			return out, err
		}
	}
}

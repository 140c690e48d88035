package h2

import (
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const (
	// maxKept is the size of the largest buffer that is kept for other streams.
	maxKept = 64 << 10
	// maxHead bounds a ConnectRequest or ConnectResponse that is to be sent. The limits of HTTP/2 are lower.
	maxHead = stream.MaxMessage
)

// scratch has the buffers for mapping one request or response between the stream form and HTTP/2.
type scratch struct {
	req    stream.Request
	resp   stream.Response
	fields []mux.Field
	enc    h2head.ResponseEncoder
}

func (s *Session) borrow() *scratch {
	if sc, ok := s.scratches.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

func (s *Session) giveBack(sc *scratch) {
	sc.enc.Reset(maxKept)
	clear(sc.fields[:cap(sc.fields)])
	clear(sc.req.Metadata[:cap(sc.req.Metadata)])
	clear(sc.resp.Metadata[:cap(sc.resp.Metadata)])
	sc.req = stream.Request{Metadata: sc.req.Metadata[:0]}
	sc.resp = stream.Response{Metadata: sc.resp.Metadata[:0]}
	sc.fields = sc.fields[:0]
	s.scratches.Put(sc)
}

// headBytes has the bytes of a ConnectRequest or ConnectResponse that were not read yet.
type headBytes struct{ rest []byte }

// put keeps what does not fit p of a message that was appended to p[:0:len(p)], and gives the number of bytes in p.
func (h *headBytes) put(p, out []byte) int {
	if len(out) <= len(p) {
		return len(out)
	}
	n := copy(p, out)
	h.rest = out[n:]
	return n
}

func (h *headBytes) read(p []byte) int {
	n := copy(p, h.rest)
	if h.rest = h.rest[n:]; len(h.rest) == 0 {
		h.rest = nil
	}
	return n
}

package h2

import (
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const (
	// maxKept is the largest buffer that is kept for later streams.
	maxKept = 64 << 10
	// maxHead bounds a head in the stream form; HTTP/2's own limits are lower.
	maxHead = stream.MaxMessage
)

// scratch is what turning a head into another form needs, and nobody afterwards.
type scratch struct {
	req    stream.Request
	resp   stream.Response
	fields []mux.Field
	block  []byte
}

func (s *Session) borrow() *scratch {
	if sc, ok := s.scratches.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

func (s *Session) giveBack(sc *scratch) {
	if cap(sc.block) > maxKept {
		sc.block = nil
	}
	clear(sc.fields[:cap(sc.fields)])
	clear(sc.req.Metadata[:cap(sc.req.Metadata)])
	clear(sc.resp.Metadata[:cap(sc.resp.Metadata)])
	sc.req = stream.Request{Metadata: sc.req.Metadata[:0]}
	sc.resp = stream.Response{Metadata: sc.resp.Metadata[:0]}
	sc.fields, sc.block = sc.fields[:0], sc.block[:0]
	s.scratches.Put(sc)
}

// headBytes are the bytes of a head in the stream form, as far as they have not been read.
type headBytes struct{ rest []byte }

// put takes a head that was appended to p[:0:len(p)]: what fits is in p already.
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

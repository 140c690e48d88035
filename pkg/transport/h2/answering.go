package h2

import (
	"errors"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

var _ transport.Stream = (*answering)(nil)

// answering is a data stream at the connector's end: it reads a ConnectRequest and writes a ConnectResponse.
type answering struct {
	raw
	s *Session

	once  sync.Once // builds the request
	asked asked
	// Of the reader.
	head headBytes
	body body

	// Of the writer.
	pend     []byte // the start of a ConnectResponse
	headDone bool
	over     bool // the answer is complete, whatever comes
	sink     sink
}

func newAnswering(s *Session, st *mux.Stream) *answering {
	return &answering{raw: raw{st: st}, s: s}
}

// build makes the ConnectRequest, in p as far as it fits, and says how much of p is used.
func (a *answering) build(p []byte) (n int, err error) {
	sc := a.s.borrow()
	defer a.s.giveBack(sc)
	a.asked = a.s.names.toRequest(a.st.Head(), a.st.Bodiless(), &sc.req)
	a.body = body{st: a.st, framed: a.asked.framed}
	out, err := sc.req.Append(p[:0:len(p)])
	if err != nil {
		a.st.Reset(mux.Internal)
		return 0, err
	}
	return a.head.put(p, out), nil
}

// Read gives prologue and ConnectRequest, then the body. What has come of the body is read together with the head.
func (a *answering) Read(p []byte) (n int, err error) {
	a.once.Do(func() { n, err = a.build(p) })
	if err != nil {
		return 0, err
	}
	if len(a.head.rest) > 0 && n < len(p) {
		n += a.head.read(p[n:])
	}
	if n == len(p) && n > 0 {
		return n, nil
	}
	m, err := a.body.read(p[n:], n == 0)
	return n + m, err
}

// Write takes prologue and ConnectResponse, then the body.
func (a *answering) Write(p []byte) (int, error) {
	a.once.Do(func() { _, _ = a.build(nil) }) // the reader, if there is one, meets the same error
	if a.headDone {
		return a.writeBody(p)
	}
	b := p
	if len(a.pend) > 0 {
		a.pend = append(a.pend, p...)
		b = a.pend
	}
	for !a.headDone {
		used, err := a.writeHead(b)
		switch {
		case errors.Is(err, stream.ErrShort):
			a.pend = append(a.pend[:0], b...)
			return len(p), nil
		case err != nil:
			return 0, err
		}
		b = b[used:]
	}
	if len(b) > 0 {
		if _, err := a.writeBody(b); err != nil {
			return 0, err
		}
	}
	a.pend = nil
	return len(p), nil
}

// writeHead sends one ConnectResponse.
func (a *answering) writeHead(b []byte) (used int, err error) {
	sc := a.s.borrow()
	defer a.s.giveBack(sc)
	used, err = stream.ParseResponseLimit(b, &sc.resp, maxHead)
	if err != nil {
		if !errors.Is(err, stream.ErrShort) {
			a.st.Reset(mux.Internal)
		}
		return 0, err
	}
	h, err := a.s.names.fromResponse(a.asked, sc)
	if err != nil {
		a.st.Reset(mux.Internal)
		return 0, err
	}
	if h.interim {
		if a.asked.interim {
			err = a.st.SendHead(sc.fields, true, false)
		}
		return used, err
	}
	a.headDone, a.over = true, h.empty
	a.sink = sink{st: a.st, framed: h.framed, left: h.length}
	return used, a.st.SendHead(sc.fields, false, h.empty)
}

// writeBody sends a piece of the body. An answer that cannot have one takes none.
func (a *answering) writeBody(p []byte) (int, error) {
	if a.over {
		return len(p), nil
	}
	return a.sink.write(p)
}

// CloseWrite ends the answer.
func (a *answering) CloseWrite() error {
	switch {
	case !a.headDone:
		if a.st.Context().Err() != nil {
			return a.st.CloseWrite(nil) // it is over, in whatever way
		}
		a.st.Reset(mux.Internal)
		return errNoAnswer
	case a.over:
		return a.st.CloseWrite(nil)
	default:
		return a.sink.end()
	}
}

// CancelRead wants no more of the request. The answer goes on; the edge learns of it when that has ended.
func (a *answering) CancelRead(transport.Code) { a.st.CancelRead() }

// CancelWrite breaks the answer off, and with it the stream.
func (a *answering) CancelWrite(transport.Code) { a.st.CancelWrite(mux.Internal) }

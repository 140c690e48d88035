package h2

import (
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

var _ transport.Stream = (*asking)(nil)

// asking is a data stream at the edge's end: it writes a ConnectRequest and reads a ConnectResponse.
type asking struct {
	raw
	s *Session

	// Of the writer. The reader looks at wanted once an answer is there, which is after the request was sent.
	pend     []byte // the start of the ConnectRequest
	headDone bool
	wanted   wanted
	sink     sink

	// Of the reader.
	answered bool
	head     headBytes
	body     body
}

func newAsking(s *Session, st *mux.Stream) *asking { return &asking{raw: raw{st: st}, s: s} }

// Write takes prologue and ConnectRequest, then the body. A request that says nothing of a body has none: what is written
// of one is dropped, as a connector would (docs/spec/wire.md 5.3).
func (a *asking) Write(p []byte) (int, error) {
	if a.headDone {
		return a.writeBody(p)
	}
	b := p
	if len(a.pend) > 0 {
		a.pend = append(a.pend, p...)
		b = a.pend
	}
	used, err := a.writeHead(b)
	switch {
	case errors.Is(err, stream.ErrShort):
		a.pend = append(a.pend[:0], b...)
		return len(p), nil
	case err != nil:
		return 0, err
	}
	a.headDone = true
	if len(b) > used {
		if _, err := a.writeBody(b[used:]); err != nil {
			return 0, err
		}
	}
	a.pend = nil
	return len(p), nil
}

func (a *asking) writeHead(b []byte) (used int, err error) {
	sc := a.s.borrow()
	defer a.s.giveBack(sc)
	used, err = stream.ParseRequestLimit(b, &sc.req, maxHead)
	if err != nil {
		if !errors.Is(err, stream.ErrShort) {
			a.st.Reset(mux.Cancelled)
		}
		return 0, err
	}
	sc.fields, a.wanted = a.s.names.fromRequest(&sc.req, sc.fields[:0])
	a.sink = sink{st: a.st, framed: a.wanted.framed, left: a.wanted.length}
	return used, a.st.SendHead(sc.fields, false, a.wanted.length == 0)
}

func (a *asking) writeBody(p []byte) (int, error) {
	if a.wanted.length == 0 {
		return len(p), nil
	}
	return a.sink.write(p)
}

// CloseWrite ends the request.
func (a *asking) CloseWrite() error {
	switch {
	case !a.headDone:
		if a.st.Context().Err() != nil {
			return a.st.CloseWrite(nil) // it is over, in whatever way
		}
		a.st.Reset(mux.Cancelled)
		return errNoRequest
	case a.sink.left > 0 && a.st.Context().Err() == nil:
		a.st.Reset(mux.Cancelled)
		return errTooShort
	case a.wanted.length == 0:
		return a.st.CloseWrite(nil)
	default:
		return a.sink.end()
	}
}

// Read gives prologue and ConnectResponse, interim ones first if the request accepts them, then the body. What has come
// of the body is read together with the head.
func (a *asking) Read(p []byte) (n int, err error) {
	for len(a.head.rest) == 0 && !a.answered && n == 0 {
		if n, err = a.readHead(p); err != nil {
			return 0, err
		}
	}
	if len(a.head.rest) > 0 && n < len(p) {
		n += a.head.read(p[n:])
	}
	if !a.answered || n == len(p) && n > 0 {
		return n, nil
	}
	m, err := a.body.read(p[n:], n == 0)
	return n + m, err
}

// readHead waits for the next head of the answer and gives it in the stream form, in p as far as it fits.
func (a *asking) readHead(p []byte) (int, error) {
	head, err := a.st.ReadHead()
	if err != nil {
		return 0, err
	}
	status := statusOf(head)
	if len(status) != 3 {
		a.st.Reset(mux.Cancelled)
		return 0, errStatus
	}
	interim := status[0] == '1'
	if interim && !a.wanted.interim {
		return 0, nil
	}
	sc := a.s.borrow()
	defer a.s.giveBack(sc)
	framed, err := toResponse(head, a.wanted, !interim && a.st.EndedEmpty(), &sc.resp)
	if err != nil {
		a.st.Reset(mux.Cancelled)
		return 0, err
	}
	out, err := sc.resp.Append(p[:0:len(p)])
	if err != nil {
		a.st.Reset(mux.Cancelled)
		return 0, err
	}
	if !interim {
		a.answered = true
		a.body = body{st: a.st, framed: framed}
	}
	return a.head.put(p, out), nil
}

// CancelRead wants no more of the answer, and so no more of anything.
func (a *asking) CancelRead(transport.Code) {
	if !a.st.Ended() {
		a.st.Reset(mux.Cancelled)
	}
	a.st.CancelRead()
}

// CancelWrite breaks the request off, and with it the stream.
func (a *asking) CancelWrite(transport.Code) { a.st.CancelWrite(mux.Cancelled) }

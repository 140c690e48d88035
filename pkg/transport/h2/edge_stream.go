package h2

import (
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

var _ transport.Stream = (*edgeStream)(nil)

// edgeStream is the edge's end of a data stream: it writes a ConnectRequest and reads a ConnectResponse.
type edgeStream struct {
	muxStream
	s *Session

	// Used by the writer. The reader uses sent once a response is there, so after the request was sent.
	pending  []byte // the beginning of the ConnectRequest
	headDone bool
	sent     h2head.Sent
	sink     sink

	// Used by the reader.
	responded bool // the final response was read
	head      headBytes
	body      body
}

func newEdgeStream(s *Session, st *mux.Stream) *edgeStream {
	return &edgeStream{muxStream: muxStream{st: st}, s: s}
}

// Write sends prologue and ConnectRequest, then the body. A request whose header does not announce a body has none: bytes of
// one are dropped, as a connector would do (docs/spec/wire.md 5.3).
func (e *edgeStream) Write(p []byte) (int, error) {
	if e.headDone {
		return e.writeBody(p)
	}
	b := p
	if len(e.pending) > 0 {
		e.pending = append(e.pending, p...)
		b = e.pending
	}
	used, err := e.writeHead(b)
	switch {
	case errors.Is(err, stream.ErrShort):
		e.pending = append(e.pending[:0], b...)
		return len(p), nil
	case err != nil:
		return 0, err
	}
	e.headDone = true
	if len(b) > used {
		if _, err := e.writeBody(b[used:]); err != nil {
			return 0, err
		}
	}
	e.pending = nil
	return len(p), nil
}

func (e *edgeStream) writeHead(b []byte) (used int, err error) {
	sc := e.s.borrow()
	defer e.s.giveBack(sc)
	used, err = stream.ParseRequestLimit(b, &sc.req, maxHead)
	if err != nil {
		if !errors.Is(err, stream.ErrShort) {
			e.st.Reset(mux.Cancelled)
		}
		return 0, err
	}
	sc.fields, e.sent = h2head.EncodeRequest(sc.fields[:0], &sc.req)
	e.sink = sink{st: e.st, framed: e.sent.Framed, left: e.sent.Length}
	return used, e.st.SendHead(sc.fields, false, e.sent.Length == 0)
}

func (e *edgeStream) writeBody(p []byte) (int, error) {
	if e.sent.Length == 0 {
		return len(p), nil
	}
	return e.sink.write(p)
}

// CloseWrite ends the request.
func (e *edgeStream) CloseWrite() error {
	switch {
	case !e.headDone:
		if e.st.Context().Err() != nil {
			return e.st.CloseWrite(nil) // the stream has ended already
		}
		e.st.Reset(mux.Cancelled)
		return errNoRequest
	case e.sink.left > 0 && e.st.Context().Err() == nil:
		e.st.Reset(mux.Cancelled)
		return errTooShort
	case e.sent.Length == 0:
		return e.st.CloseWrite(nil)
	default:
		return e.sink.end()
	}
}

// Read gives prologue and ConnectResponse, then the body. Interim responses come first if the request accepts them. Bytes of
// the body that are there already are read together with the ConnectResponse.
func (e *edgeStream) Read(p []byte) (n int, err error) {
	for len(e.head.rest) == 0 && !e.responded && n == 0 {
		if n, err = e.readHead(p); err != nil {
			return 0, err
		}
	}
	if len(e.head.rest) > 0 && n < len(p) {
		n += e.head.read(p[n:])
	}
	if !e.responded || n == len(p) && n > 0 {
		return n, nil
	}
	m, err := e.body.read(p[n:], n == 0)
	return n + m, err
}

// readHead waits for the next response and encodes it in the stream form, into p as far as it fits.
func (e *edgeStream) readHead(p []byte) (int, error) {
	head, err := e.st.ReadHead()
	if err != nil {
		return 0, err
	}
	status := h2head.StatusOf(head)
	if len(status) != 3 {
		e.st.Reset(mux.Cancelled)
		return 0, h2head.ErrStatus
	}
	interim := status[0] == '1'
	if interim && !e.sent.Interim {
		return 0, nil
	}
	sc := e.s.borrow()
	defer e.s.giveBack(sc)
	framed, err := h2head.DecodeResponse(head, e.sent, !interim && e.st.EndedEmpty(), e.s.limits, &sc.resp)
	if err != nil {
		e.st.Reset(mux.Cancelled)
		return 0, err
	}
	out, err := sc.resp.Append(p[:0:len(p)])
	if err != nil {
		e.st.Reset(mux.Cancelled)
		return 0, err
	}
	if !interim {
		e.responded = true
		e.body = body{st: e.st, framed: framed}
	}
	return e.head.put(p, out), nil
}

// CancelRead resets the stream unless the response has ended: without its response a request serves no purpose.
func (e *edgeStream) CancelRead(transport.Code) {
	if !e.st.Ended() {
		e.st.Reset(mux.Cancelled)
	}
	e.st.CancelRead()
}

// CancelWrite resets the stream unless the request has ended.
func (e *edgeStream) CancelWrite(transport.Code) { e.st.CancelWrite(mux.Cancelled) }

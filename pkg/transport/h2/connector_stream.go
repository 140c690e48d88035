package h2

import (
	"errors"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

var _ transport.Stream = (*connectorStream)(nil)

// connectorStream is the connector's end of a data stream: it reads a ConnectRequest and writes a ConnectResponse.
type connectorStream struct {
	muxStream
	s *Session

	once     sync.Once // decodes the request
	received h2head.Received
	// Used by the reader.
	head headBytes
	body body

	// Used by the writer.
	pending  []byte // the beginning of a ConnectResponse
	headDone bool
	complete bool // the response has no body: what is written of one is dropped
	sink     sink
}

func newConnectorStream(s *Session, st *mux.Stream) *connectorStream {
	return &connectorStream{muxStream: muxStream{st: st}, s: s}
}

// decode turns the request into a ConnectRequest, into p as far as it fits, and gives the bytes of p that are used.
func (c *connectorStream) decode(p []byte) (n int, err error) {
	sc := c.s.borrow()
	defer c.s.giveBack(sc)
	c.received = h2head.DecodeRequest(c.st.TakeHead(), c.st.Bodiless(), &sc.req)
	c.body = body{st: c.st, framed: c.received.Framed}
	out, err := sc.req.Append(p[:0:len(p)])
	if err != nil {
		c.st.Reset(mux.Internal)
		return 0, err
	}
	return c.head.put(p, out), nil
}

// Read gives prologue and ConnectRequest, then the body. Bytes of the body that are there already are read together with
// the ConnectRequest.
func (c *connectorStream) Read(p []byte) (n int, err error) {
	c.once.Do(func() { n, err = c.decode(p) })
	if err != nil {
		return 0, err
	}
	if len(c.head.rest) > 0 && n < len(p) {
		n += c.head.read(p[n:])
	}
	if n == len(p) && n > 0 {
		return n, nil
	}
	m, err := c.body.read(p[n:], n == 0)
	return n + m, err
}

// Write sends prologue and ConnectResponse, then the body.
func (c *connectorStream) Write(p []byte) (int, error) {
	c.once.Do(func() { _, _ = c.decode(nil) }) // a failure resets the stream, which the write below reports
	if c.headDone {
		return c.writeBody(p)
	}
	b := p
	if len(c.pending) > 0 {
		c.pending = append(c.pending, p...)
		b = c.pending
	}
	for !c.headDone {
		used, err := c.writeHead(b)
		switch {
		case errors.Is(err, stream.ErrShort):
			c.pending = append(c.pending[:0], b...)
			return len(p), nil
		case err != nil:
			return 0, err
		}
		b = b[used:]
	}
	if len(b) > 0 {
		if _, err := c.writeBody(b); err != nil {
			return 0, err
		}
	}
	c.pending = nil
	return len(p), nil
}

// writeHead sends one ConnectResponse, unless it is an interim one that the edge does not accept.
func (c *connectorStream) writeHead(b []byte) (used int, err error) {
	sc := c.s.borrow()
	defer c.s.giveBack(sc)
	used, err = stream.ParseResponseLimit(b, &sc.resp, maxHead)
	if err != nil {
		if !errors.Is(err, stream.ErrShort) {
			c.st.Reset(mux.Internal)
		}
		return 0, err
	}
	info, err := sc.enc.Encode(&sc.resp, c.received)
	if err != nil {
		c.st.Reset(mux.Internal)
		return 0, err
	}
	if info.Interim {
		if c.received.Interim {
			err = c.st.SendHead(sc.enc.Fields, true, false)
		}
		return used, err
	}
	c.headDone, c.complete = true, info.Empty
	c.sink = sink{st: c.st, framed: info.Framed, left: info.Length}
	return used, c.st.SendHead(sc.enc.Fields, false, info.Empty)
}

func (c *connectorStream) writeBody(p []byte) (int, error) {
	if c.complete {
		return len(p), nil
	}
	return c.sink.write(p)
}

// CloseWrite ends the response.
func (c *connectorStream) CloseWrite() error {
	switch {
	case !c.headDone:
		if c.st.Context().Err() != nil {
			return c.st.CloseWrite(nil) // the stream has ended already
		}
		c.st.Reset(mux.Internal)
		return errNoResponse
	case c.complete:
		return c.st.CloseWrite(nil)
	default:
		return c.sink.end()
	}
}

// CancelRead drops the rest of the request. The response goes on; the edge learns of it when the response has ended.
func (c *connectorStream) CancelRead(transport.Code) { c.st.CancelRead() }

// CancelWrite resets the stream unless the response has ended.
func (c *connectorStream) CancelWrite(transport.Code) { c.st.CancelWrite(mux.Internal) }

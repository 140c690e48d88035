package front

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

// respond passes the response on: the head in rt.resp, the part of the body that came with it, then the rest of the stream.
func (rt *roundTrip) respond(st transport.Stream, rest dispatch.Input, up *upload) *dispatch.Failure {
	h := rt.w.Header()
	head, err := headpolicy.ParseResponse(h, rt.resp.Metadata, rt.front.header)
	body, ok := layoutOf(rt.resp.Metadata, rt.accept != "")
	switch {
	case err != nil:
	case head.Status < http.StatusOK, !ok:
		err = fmt.Errorf("%w: status %d", dispatch.ErrResponse, head.Status)
	case body == layoutNone && head.Length > 0 && headpolicy.MayHaveBody(rt.r.Method, head.Status):
		err = fmt.Errorf("%w: a length of %d and no body", dispatch.ErrResponse, head.Length)
	}
	if err != nil {
		clear(h)
		transport.Abort(st)
		return &dispatch.Failure{Kind: dispatch.Malformed, Detail: err.Error()}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // keeps the server from guessing one
	}
	if rt.r.ProtoMajor == 1 && rt.hasBody() && !up.consumed() {
		h.Set(headpolicy.Connection, "close") // the rest of the body must not become the next request
	}
	c := rt.newCopy(st, h, head, body)
	rt.begun = true
	rt.w.WriteHeader(head.Status)
	if rt.end = c.run(rest.Bytes, rest.Ended); rt.end != served {
		transport.Abort(st)
		if rt.r.Context().Err() != nil || up.visitorLeft() {
			rt.end = aborted
		}
	}
	return nil
}

// newCopy decides what of the stream is the body, and corrects the header accordingly.
func (rt *roundTrip) newCopy(st transport.Stream, h http.Header, head headpolicy.Response, body layout) *bodyCopy {
	c := &bodyCopy{rt: rt, body: responseBody{st: st, buf: rt.buf[:]}, limit: head.Length, none: body == layoutNone}
	_, c.deferHead = h["Grpc-Status"]
	switch {
	case head.Status == http.StatusNoContent, head.Status == http.StatusNotModified:
		// 204 must not have one, and net/http drops it from a 304 over HTTP/1.1.
		delete(h, headpolicy.ContentLength)
		c.limit = 0
	case rt.r.Method == http.MethodHead, body == layoutNone:
		c.limit = 0
	case body == layoutFrames:
		c.body.frames = new(stream.Deframer)
		if c.names = headpolicy.AnnounceTrailers(h, rt.resp.Metadata); len(c.names) > 0 && rt.r.ProtoMajor == 1 {
			delete(h, headpolicy.ContentLength) // over HTTP/1.1 only chunked bodies have trailers
		}
	}
	return c
}

// bodyCopy copies the body of a response to the visitor.
type bodyCopy struct {
	rt   *roundTrip
	body responseBody
	// limit is the declared length, or negative.
	limit int64
	// names are the announced trailers.
	names []string
	// none says that there is no body, so that the end of the response may travel with its head.
	none bool
	// deferHead delays the head until the first byte of the body or the end. A gRPC response with its status in the head has no
	// message, and a client treats a head that arrives alone as the start of a stream of messages. A connector that does not set
	// BodyNone sends its FIN later than the head.
	deferHead bool
	written   int64
	// backlog tracks the response while more of it may wait for the visitor.
	backlog *backlog.Response
}

// run copies until the declared length is reached, or until FIN if there is none. It flushes before it waits for more.
func (c *bodyCopy) run(raw []byte, fin bool) ending {
	chunk, err := c.body.strip(raw, fin)
	defer func() { c.backlog.End() }()
	for {
		over := c.limit >= 0 && c.written+int64(len(chunk)) > c.limit
		if over {
			chunk = chunk[:c.limit-c.written]
		}
		if c.pass(chunk, fin) != nil {
			return aborted
		}
		switch whole := c.written == c.limit; {
		case err != nil, over && c.body.frames != nil:
			return truncated
		case whole && c.body.frames == nil:
			c.finish(fin, over)
			return served
		case fin && (whole || c.limit < 0):
			return c.setTrailers()
		case fin: // shorter than declared
			return truncated
		}
		if !c.deferHead && c.rt.w.FlushError() != nil {
			return aborted
		}
		c.backlog.WriteDone(len(chunk))
		chunk, fin, err = c.body.next()
	}
}

// setTrailers hands the trailers to the server, which sends them when the handler returns.
func (c *bodyCopy) setTrailers() ending {
	err := headpolicy.SetTrailers(c.rt.w.Header(), c.names, c.body.trailers(), http.TrailerPrefix, c.rt.front.header)
	if err != nil {
		return truncated
	}
	return served
}

// pass writes a chunk to the visitor. Before the last chunk, the backlog tracks how long the visitor delays each write.
func (c *bodyCopy) pass(chunk []byte, fin bool) error {
	if !fin && c.backlog == nil && (c.limit < 0 || c.written+int64(len(chunk)) < c.limit) {
		c.backlog = c.rt.front.deps.Backlog.Begin(c.rt.via, c.rt.w.Aborter())
	}
	c.backlog.WriteStarted()
	if len(chunk) == 0 {
		return nil
	}
	if _, err := c.rt.w.Write(chunk); err != nil {
		return err
	}
	c.written += int64(len(chunk))
	c.deferHead = false
	return nil
}

// finish ends a complete response: the visitor gets it at once, and the connector has finTimeout to send FIN. Bytes beyond the
// declared length are discarded.
func (c *bodyCopy) finish(fin, over bool) {
	if fin {
		return
	}
	st := c.body.st
	if !over && (c.none || c.rt.w.FlushError() == nil) {
		c.backlog.WriteDone(0) // from here on the wait is for the connector
		if c.rt.unwanted {
			st.CancelWrite(transport.NoError) // the connector may wait for the body before it sends FIN
		}
		_ = st.SetReadDeadline(time.Now().Add(finTimeout)) // fails only on a dead stream, where the read fails as well
		n, err := st.Read(c.body.buf)
		if n == 0 && err == io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
			return
		}
	}
	st.CancelRead(transport.NoError)
}

package front

import (
	"io"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
)

// respond passes the answer on: the head from x.resp, the body that came with it, then the rest of the stream.
func (x *exchange) respond(st transport.Stream, rest []byte, fin bool, up *upload) outcome {
	h := x.w.Header()
	a, ok := parseAnswer(h, x.resp.Metadata)
	how, fits := layoutOf(x.resp.Metadata, x.accept != "")
	if how == layoutNone && a.length > 0 && mayHaveBody(x.r.Method, a.status) {
		fits = false // it says that there is a body, and that there is none
	}
	if !ok || !fits {
		clear(h)
		cancelStream(st)
		return outcome{page: connectorError(), detail: errAnswer.Error()}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // the server must not guess
	}
	if x.r.ProtoMajor == 1 && x.hasBody() && !up.consumed() {
		h.Set("Connection", "close") // an early answer: what is left of the body must not become the next request
	}
	c := x.newCopy(st, h, a, how)
	x.begun = true
	x.w.WriteHeader(a.status)
	res := c.run(rest, fin)
	if res != resultServed {
		cancelStream(st)
		if x.r.Context().Err() != nil || up.visitorLeft() {
			res = resultAborted
		}
	}
	return outcome{result: res}
}

// newCopy decides what of the stream is the body, and corrects the header accordingly.
func (x *exchange) newCopy(st transport.Stream, h http.Header, a answer, how layout) *answerCopy {
	c := &answerCopy{x: x, body: answerBody{st: st, buf: x.buf[:]}, limit: a.length, mute: how == layoutNone}
	_, c.held = h["Grpc-Status"]
	switch {
	case a.status == http.StatusNoContent, a.status == http.StatusNotModified:
		delete(h, "Content-Length") // forbidden with the one, and what the server does over HTTP/1.1 with the other
		c.limit = 0
	case x.r.Method == http.MethodHead, how == layoutNone:
		c.limit = 0
	case how == layoutFrames:
		c.body.frames = new(stream.Deframer)
		if c.names = announceTrailers(h, x.resp.Metadata); len(c.names) > 0 && x.r.ProtoMajor == 1 {
			delete(h, "Content-Length") // over HTTP/1.1 only chunks have trailers
		}
	}
	return c
}

// answerCopy copies the body of an answer to the visitor.
type answerCopy struct {
	x    *exchange
	body answerBody
	// limit is the declared length, or negative.
	limit int64
	// names are the announced trailers.
	names []string
	// mute says that there is no body, so that the end may travel with the head.
	mute bool
	// held says that the head waits for the first byte of a body that hardly comes: a gRPC answer with its status in the
	// head has no message, and its caller takes a head that goes alone for the begin of one. A connector that does not
	// say BodyNone sends its end later than the head.
	held    bool
	written int64
	// backlog knows the answer while more of it may wait for the visitor.
	backlog *backlog.Answer
}

// run copies until the declared length is reached, or else until FIN, and sends what it has whenever it has to wait for
// more.
func (c *answerCopy) run(raw []byte, fin bool) result {
	chunk, err := c.body.take(raw, fin)
	defer func() { c.backlog.End() }()
	for {
		over := c.limit >= 0 && c.written+int64(len(chunk)) > c.limit
		if over {
			chunk = chunk[:c.limit-c.written]
		}
		if c.pass(chunk, fin) != nil {
			return resultAborted
		}
		switch whole := c.written == c.limit; {
		case err != nil, over && c.body.frames != nil:
			return resultBroken
		case whole && c.body.frames == nil:
			c.finish(fin, over)
			return resultServed
		case fin && (whole || c.limit < 0):
			setTrailers(c.x.w.Header(), c.names, c.body.trailers())
			return resultServed
		case fin: // shorter than declared
			return resultBroken
		}
		if !c.held && c.x.flush() != nil {
			return resultAborted
		}
		c.backlog.Took(len(chunk))
		chunk, fin, err = c.body.next()
	}
}

// pass writes a chunk to the visitor; while more is to come the backlog knows that it may have to wait.
func (c *answerCopy) pass(chunk []byte, fin bool) error {
	if !fin && c.backlog == nil && (c.limit < 0 || c.written+int64(len(chunk)) < c.limit) {
		c.backlog = c.x.front.deps.Backlog.Begin(c.x.conn, c.x.cutter())
	}
	c.backlog.Waits()
	if len(chunk) == 0 {
		return nil
	}
	if _, err := c.x.write(chunk); err != nil {
		return err
	}
	c.written += int64(len(chunk))
	c.held = false
	return nil
}

// finish ends the reading side of a complete answer: the visitor gets it at once, and the connector a moment to say its
// end. What comes beyond the declared length is not wanted.
func (c *answerCopy) finish(fin, over bool) {
	if fin {
		return
	}
	st := c.body.st
	if !over && (c.mute || c.x.flush() == nil) {
		c.backlog.Took(0) // who waits now is not the visitor
		if c.x.unwanted {
			st.CancelWrite(transport.NoError) // the connector may wait for a body with its end
		}
		_ = st.SetReadDeadline(time.Now().Add(finTimeout)) // fails only on a dead stream, which the read tells
		n, err := st.Read(c.body.buf)
		if n == 0 && err == io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
			return
		}
	}
	st.CancelRead(transport.NoError)
}

func mayHaveBody(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

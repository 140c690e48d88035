package front

import (
	"io"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// respond passes the answer on: the head from x.resp, the body that came with it, then the rest of the stream.
func (x *exchange) respond(st transport.Stream, rest []byte, fin bool, up *upload) outcome {
	h := x.w.Header()
	a, ok := parseAnswer(h, x.resp.Metadata)
	if !ok {
		clear(h)
		cancelStream(st)
		return outcome{page: connectorError(), detail: errAnswer.Error()}
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // the server must not guess
	}
	if up != nil && x.r.ProtoMajor == 1 && !up.consumed() {
		h.Set("Connection", "close") // an early answer: what is left of the body must not become the next request
	}
	limit := a.length
	switch {
	case a.status == http.StatusNoContent, a.status == http.StatusNotModified:
		delete(h, "Content-Length") // forbidden with the one, and what the server does over HTTP/1.1 with the other
		limit = 0
	case x.r.Method == http.MethodHead:
		limit = 0
	}
	x.begun = true
	x.w.WriteHeader(a.status)
	res := x.copyBody(st, rest, fin, limit)
	if res != resultServed {
		cancelStream(st)
		if x.r.Context().Err() != nil || up.visitorLeft() {
			res = resultAborted
		}
	}
	return outcome{result: res}
}

// copyBody copies the stream to the visitor until limit bytes (or until FIN, when limit is negative), flushing what it
// has whenever it has to wait for more.
func (x *exchange) copyBody(st transport.Stream, chunk []byte, fin bool, limit int64) result {
	var written int64
	for {
		over := limit >= 0 && written+int64(len(chunk)) > limit
		if over {
			chunk = chunk[:limit-written]
		}
		if len(chunk) > 0 {
			if _, err := x.write(chunk); err != nil {
				return resultAborted
			}
			written += int64(len(chunk))
		}
		switch {
		case written == limit:
			x.finish(st, fin, over)
			return resultServed
		case fin && limit < 0:
			return resultServed
		case fin: // shorter than declared
			return resultBroken
		}
		if x.flush() != nil {
			return resultAborted
		}
		n, err := st.Read(x.buf[:])
		chunk, fin = x.buf[:n], err == io.EOF //nolint:errorlint // the bare value is the contract of io.Reader
		if err != nil && !fin {
			return resultBroken
		}
	}
}

// finish ends the reading side of a complete answer: the visitor gets it at once, and the connector a moment to say its
// end. What comes beyond the declared length is not wanted.
func (x *exchange) finish(st transport.Stream, fin, over bool) {
	if fin {
		return
	}
	if !over && x.flush() == nil {
		_ = st.SetReadDeadline(time.Now().Add(finTimeout)) // fails only on a dead stream, which the read tells
		n, err := st.Read(x.buf[:])
		if n == 0 && err == io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
			return
		}
	}
	st.CancelRead(transport.NoError)
}

package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	bufferSize = 32 << 10
	// maxAnswerHead bounds the head of an answer.
	maxAnswerHead = 1 << 20
	// maxKeptHead is the largest request head buffer that is kept for later requests.
	maxKeptHead = 64 << 10
	// maxInFlight bounds the requests that wait on one connection.
	maxInFlight = 16384
	// maxTries bounds how often a request is sent.
	maxTries = 2
	// finTimeout is how long the end of a complete answer may take to be said.
	finTimeout = 5 * time.Second
)

// exchange carries one request to a connector and its answer back.
type exchange struct {
	front   *Front
	w       http.ResponseWriter
	r       *http.Request
	visitor visitor
	// conn is the connection that the request was sent on last.
	conn  *registry.Conn
	stall *stall
	// accept is what the connector was told that its answer may have, and framed says that the request's body is framed.
	accept string
	framed bool
	// begun says that the visitor has got the beginning of an answer.
	begun bool
	// uploading says that the body was read, at least in part; unwanted that the connector answered without asking for it.
	uploading, unwanted bool
	*scratch
}

// scratch is the memory of an exchange that outlives it.
type scratch struct {
	buf  [bufferSize]byte
	head []byte
	req  stream.Request
	resp stream.Response
}

func newScratch() any { return new(scratch) }

func (x *exchange) free() {
	s := x.scratch
	if s == nil {
		return
	}
	x.scratch = nil
	clear(s.req.Metadata[:cap(s.req.Metadata)])
	clear(s.resp.Metadata[:cap(s.resp.Metadata)])
	s.req = stream.Request{Metadata: s.req.Metadata[:0]}
	s.resp = stream.Response{Metadata: s.resp.Metadata[:0]}
	if cap(s.head) <= maxKeptHead {
		x.front.scratches.Put(s)
	}
}

// outcome is what came of one try.
type outcome struct {
	result result
	// again says that nothing of the request can have had an effect, or that it may be repeated.
	again bool
	page  *problem
	// detail is the connector's text; it goes to the log.
	detail string
}

// carry sends the request to a connection of the tunnel, and once more to another one when that does no harm.
func (x *exchange) carry(id tunnel.ID) result {
	x.scratch = x.front.scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer x.free()
	last := outcome{page: noConnector()}
	var not *registry.Conn
	for try := range maxTries {
		if x.r.Context().Err() != nil { // reset before its turn came: the connector need not hear of it
			return resultAborted
		}
		conn, ok := x.front.deps.Conns.Pick(id, not)
		if !ok {
			break
		}
		if conn.InFlight() > maxInFlight {
			conn.Release()
			return x.page(flowLimited(), "")
		}
		if !x.encode(conn) {
			conn.Release()
			return x.page(headTooLarge(), "")
		}
		if try > 0 {
			x.front.metrics.retries.Inc()
		}
		x.conn = conn
		if x.visitor.webSocket {
			last = x.tryUpgrade(conn)
		} else {
			last = x.try(conn)
		}
		conn.Release()
		if !last.again || x.r.Context().Err() != nil {
			break
		}
		not = conn
	}
	if last.page == nil {
		return last.result
	}
	if x.r.Context().Err() != nil {
		return resultAborted
	}
	x.report(last, not)
	return x.page(last.page, last.detail)
}

// report logs what a visitor is not told, one line per second at most.
func (x *exchange) report(o outcome, conn *registry.Conn) {
	level := slog.LevelDebug
	if x.front.failures.allow(time.Now()) {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String(logkey.Code, o.page.code), slog.String(logkey.RequestID, x.visitor.ray), slog.String(logkey.Host, x.r.Host), slog.String(logkey.Err, o.detail)}
	if conn != nil {
		attrs = append(attrs, slog.Int(logkey.ConnIndex, int(conn.Slot.Index)))
	}
	x.front.deps.Logger.LogAttrs(x.r.Context(), level, "request failed", attrs...)
}

// Values of the metadata that says what an answer may have.
const (
	acceptFrames  = stream.AcceptFrames
	acceptInterim = stream.AcceptFrames + "," + stream.AcceptInterim
)

// encode builds the request's head for a connection in x.head.
func (x *exchange) encode(conn *registry.Conn) bool {
	target := x.r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = x.r.URL.RequestURI()
		if !strings.HasPrefix(target, "/") {
			target = "/" + target
		}
	}
	x.req.Dest = x.visitor.scheme + "://" + x.r.Host + target
	x.req.Type, x.accept, x.framed, x.visitor.expects, x.visitor.trailers = stream.HTTP, "", false, false, ""
	length := x.r.ContentLength
	switch {
	case x.visitor.webSocket:
		x.req.Type = stream.WebSocket
	case conn.Interim() && x.r.ProtoAtLeast(1, 1):
		x.accept, x.visitor.expects = acceptInterim, x.hasBody() && expectsContinue(x.r)
	case conn.Frames():
		x.accept = acceptFrames
	}
	if x.accept != "" && len(x.r.Trailer) > 0 && x.hasBody() {
		x.visitor.trailers = announced(x.r.Trailer)
		if x.framed = x.visitor.trailers != ""; x.framed {
			length = -1
		}
	}
	x.req.Metadata = x.front.keys.appendRequest(x.req.Metadata[:0], x.r, x.visitor, length)
	if x.accept != "" {
		x.req.Metadata = append(x.req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: x.accept})
	}
	if x.framed {
		x.req.Metadata = append(x.req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
	var err error
	x.head, err = x.req.Append(x.head[:0])
	return err == nil
}

func (x *exchange) hasBody() bool {
	return x.r.Body != nil && x.r.Body != http.NoBody && x.r.ContentLength != 0
}

// repeatable reports whether a request that may have arrived may be sent again (RFC 9110, 9.2.2): only methods that
// change nothing, and only without a body.
func (x *exchange) repeatable() bool {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return !x.hasBody()
	default:
		return false
	}
}

// open opens a stream on a connection and sends the head of the request. The stream is cancelled when the visitor
// leaves, until unwatch is called; st is nil if it failed.
func (x *exchange) open(conn *registry.Conn) (st transport.Stream, unwatch func() bool, failed outcome) {
	ctx := x.r.Context()
	st, err := conn.Session.OpenStream(ctx)
	if err != nil {
		return nil, nil, outcome{again: true, page: connectorLost(), detail: err.Error()}
	}
	unwatch = context.AfterFunc(ctx, func() { cancelStream(st) })
	if n, err := st.Write(x.head); err != nil {
		unwatch()
		cancelStream(st)
		// A connector does not act on half a head.
		return nil, nil, outcome{again: n < len(x.head), page: connectorLost(), detail: err.Error()}
	}
	return st, unwatch, outcome{}
}

// try sends the request on one connection and, if an answer comes, passes it on.
func (x *exchange) try(conn *registry.Conn) outcome {
	st, unwatch, failed := x.open(conn)
	if st == nil {
		return failed
	}
	defer unwatch()
	started := time.Now()
	var up *upload
	defer func() { up.stop() }()
	switch {
	case x.visitor.expects: // the body comes when it is asked for
		x.front.limitWait(st)
	case x.hasBody():
		up = x.startUpload(st)
	default:
		if err := st.CloseWrite(); err != nil {
			cancelStream(st)
			return outcome{again: x.repeatable(), page: connectorLost(), detail: err.Error()}
		}
		x.front.limitWait(st)
	}
	rest, fin, err := x.readHead(st, nil, false)
	for n := 0; err == nil && x.interim(n); n++ {
		if x.visitor.expects && up == nil && x.statusIs("100") {
			_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, which the next read tells
			up = x.startUpload(st)
		}
		rest, fin, err = x.readHead(st, rest, fin)
	}
	up.answered(st, x.front.cfg.ResponseHeaderTimeout > 0)
	x.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		cancelStream(st)
		return x.failed(err, up)
	}
	if x.resp.Error != "" {
		cancelStream(st)
		return x.refused()
	}
	if x.visitor.expects && up == nil {
		// The body is not wanted. That is said when the answer is there: over HTTP/2 a reset ends both directions.
		x.unwanted = true
		defer st.CancelWrite(transport.NoError)
	}
	return x.respond(st, rest, fin, up)
}

// limitWait bounds how long the head of the answer may take.
func (f *Front) limitWait(st transport.Stream) {
	if d := f.cfg.ResponseHeaderTimeout; d > 0 {
		_ = st.SetReadDeadline(time.Now().Add(d)) // fails only on a dead stream, which the next read tells
	}
}

// errAnswer says that the connector's answer is not one.
var errAnswer = errors.New("malformed answer")

// readHead reads until the head of an answer is complete; rest is what came behind it, fin whether that is all. It goes
// on from what came behind the head before.
func (x *exchange) readHead(st transport.Stream, got []byte, done bool) (rest []byte, fin bool, err error) {
	buf := x.buf[:]
	if len(got) > len(buf) {
		buf = make([]byte, len(got))
	}
	have := copy(buf, got)
	x.resp.Error, x.resp.Metadata = "", x.resp.Metadata[:0]
	var rerr error
	for first := true; ; first = false {
		switch {
		case done:
			rerr = io.EOF
		case !first || have == 0:
			if have == len(buf) {
				buf = append(buf, make([]byte, len(buf))...)
			}
			var n int
			n, rerr = st.Read(buf[have:])
			have += n
		}
		used, perr := stream.ParseResponseLimit(buf[:have], &x.resp, maxAnswerHead)
		switch {
		case perr == nil:
			if rerr != nil && rerr != io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
				return nil, false, rerr
			}
			return buf[used:have], rerr != nil, nil
		case !errors.Is(perr, stream.ErrShort):
			return nil, false, errors.Join(errAnswer, perr)
		case rerr == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			return nil, false, errors.Join(errAnswer, io.ErrUnexpectedEOF)
		case rerr != nil:
			return nil, false, rerr
		}
	}
}

// failed says what it means that no answer's head came.
func (x *exchange) failed(err error, up *upload) outcome {
	if x.r.Context().Err() != nil || up.visitorLeft() {
		return outcome{result: resultAborted}
	}
	o := outcome{page: connectorError(), detail: err.Error()}
	var lost *tunnel.ConnError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), up.stalled():
		o.page = originTimeout()
	case errors.As(err, &lost):
		o.page, o.again = connectorLost(), x.repeatable()
	}
	return o
}

// refused turns the connector's own error into a page (docs/spec/wire.md 5.4). Our connector adds the status that fits; of
// 503 it promises that nobody has seen the request.
func (x *exchange) refused() outcome {
	o := outcome{page: originUnreachable(), detail: x.resp.Error}
	for _, p := range x.resp.Metadata {
		switch {
		case p.Key == stream.KeyFlowLimited && p.Val == "true":
			o.page = flowLimited()
		case p.Key == stream.KeyStatus:
			if page, known := connectorRefusal(p.Val); known {
				o.page, o.again = page, p.Val == "503" && !x.hasBody()
			}
		}
	}
	return o
}

func cancelStream(st transport.Stream) {
	st.CancelWrite(transport.NoError)
	st.CancelRead(transport.NoError)
}

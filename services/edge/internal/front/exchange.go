package front

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
)

// errConnectionHeads says that the requests in flight on a connection have too large heads together.
var errConnectionHeads = errors.New("the heads of the requests in flight on the visitor's connection are too large together")

const (
	bufferSize = 32 << 10
	// maxKeptHead is the largest request head buffer that is kept for later requests.
	maxKeptHead = 64 << 10
	// finTimeout is how long the FIN behind a complete response may take.
	finTimeout = 5 * time.Second
)

// exchange carries one request to a connector, and the response back.
type exchange struct {
	front   *Front
	w       visitorconn.ResponseWriter
	r       *http.Request
	conn    *visitorconn.State
	visitor headpolicy.Visitor
	// webSocket says that the request is the handshake of a WebSocket; key is our key of the handshake, over HTTP/2.
	webSocket bool
	key       string
	// via is the connection of the attempt.
	via *registry.Conn
	// accept is what the connector may use in its response; expects says that it decides whether the body is sent, and
	// framed that the body is sent in frames.
	accept          string
	expects, framed bool
	// end is how an attempt ended that was not a failure.
	end ending
	// begun says that the visitor got the beginning of a response.
	begun bool
	// uploading says that the body was read, at least in part; unwanted that the connector responded without it.
	uploading, unwanted bool
	// headCost is what the head counts for in the limit of the visitor's connection.
	headCost int
	*scratch
}

// scratch is the memory of an exchange, reused by later ones.
type scratch struct {
	buf  [bufferSize]byte
	head []byte
	req  stream.Request
	resp stream.Response
}

func newScratch() any { return new(scratch) }

// free gives back the memory and the place of the request's head.
func (x *exchange) free() {
	s := x.scratch
	if s == nil {
		return
	}
	x.scratch = nil
	x.conn.GiveHead(x.headCost)
	clear(s.req.Metadata[:cap(s.req.Metadata)])
	clear(s.resp.Metadata[:cap(s.resp.Metadata)])
	s.req = stream.Request{Metadata: s.req.Metadata[:0]}
	s.resp = stream.Response{Metadata: s.resp.Metadata[:0]}
	if cap(s.head) <= maxKeptHead {
		x.front.scratches.Put(s)
	}
}

// carry sends the request to a connection of the tunnel, and again to others as package dispatch allows.
func (x *exchange) carry(id tunnel.ID) ending {
	x.scratch = x.front.scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer x.free()
	ctx := x.r.Context()
	conn, failure := x.front.sender.Send(ctx, id, x.attempt)
	switch {
	case failure == nil:
		conn.Release()
		return x.end
	case failure.Kind == dispatch.Canceled, ctx.Err() != nil:
		return aborted
	}
	page := pageOf(failure)
	if failure.Kind != dispatch.TooLarge && failure.Kind != dispatch.Busy {
		x.report(page, failure, conn)
	}
	return x.page(page, failure.Detail)
}

// attempt runs the exchange on one connection.
func (x *exchange) attempt(conn *registry.Conn) *dispatch.Failure {
	if f := x.encode(conn); f != nil {
		return f
	}
	x.via = conn
	if x.webSocket {
		return x.attemptUpgrade(conn)
	}
	return x.attemptHTTP(conn)
}

// pageOf is the error page for a failure.
func pageOf(f *dispatch.Failure) *problem {
	switch f.Kind {
	case dispatch.NoConnection:
		return noConnector()
	case dispatch.Busy, dispatch.FlowLimited:
		return flowLimited()
	case dispatch.TooLarge:
		return headTooLarge()
	case dispatch.Lost, dispatch.Canceled:
		return connectorLost()
	case dispatch.Timeout:
		return originTimeout()
	case dispatch.Malformed:
		return connectorError()
	case dispatch.Refused:
		if page, known := connectorRefusal(f.Status); known {
			return page
		}
	}
	return originUnreachable()
}

// report logs what the page hides, at most one line per logInterval above debug.
func (x *exchange) report(page *problem, f *dispatch.Failure, conn *registry.Conn) {
	level := slog.LevelDebug
	if x.front.warnings.Allow() {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String(logkey.Code, page.code), slog.String(logkey.RequestID, x.visitor.Ray), slog.String(logkey.Host, x.r.Host),
		slog.String(logkey.Err, f.Detail),
	}
	if conn != nil {
		attrs = append(attrs, slog.Int(logkey.ConnIndex, int(conn.Slot.Index)))
	}
	x.front.deps.Logger.LogAttrs(x.r.Context(), level, "request failed", attrs...)
}

// Values of the metadata that says what a response may use.
const (
	acceptFrames  = stream.AcceptFrames
	acceptInterim = stream.AcceptFrames + "," + stream.AcceptInterim
)

// encode builds the head of the request for a connection in x.head.
func (x *exchange) encode(conn *registry.Conn) *dispatch.Failure {
	x.req.Dest = x.visitor.Scheme + "://" + x.r.Host + originTarget(x.r)
	head := headpolicy.Request{
		Method: x.r.Method, Host: x.r.Host, Header: x.r.Header, Visitor: x.visitor, WebSocket: x.webSocket, Key: x.key,
		Body: headpolicy.Body{Length: x.r.ContentLength},
	}
	x.req.Type = stream.HTTP
	if x.webSocket {
		x.req.Type, head.Method = stream.WebSocket, http.MethodGet // also of an extended CONNECT
	}
	x.negotiate(conn)
	head.Body.Expect = x.expects
	if x.accept != "" && len(x.r.Trailer) > 0 && x.hasBody() {
		head.Body.Trailers = headpolicy.TrailerNames(x.r.Trailer)
		if x.framed = head.Body.Trailers != ""; x.framed {
			head.Body.Length = -1
		}
	}
	md, cost, err := headpolicy.AppendRequest(x.req.Metadata[:0], &head, x.front.header)
	x.req.Metadata = md
	if err == nil && x.headCost == 0 && !x.conn.TakeHead(cost, x.front.cfg.Limits.ConnectionHeaderBytes) {
		err = errConnectionHeads
	}
	if err != nil {
		return &dispatch.Failure{Kind: dispatch.TooLarge, Detail: err.Error()}
	}
	if x.headCost == 0 {
		x.headCost = cost
	}
	if x.accept != "" {
		x.req.Metadata = append(x.req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: x.accept})
	}
	if x.framed {
		x.req.Metadata = append(x.req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
	if x.head, err = x.req.Append(x.head[:0]); err != nil {
		return &dispatch.Failure{Kind: dispatch.TooLarge, Detail: err.Error()}
	}
	return nil
}

// negotiate decides which extensions of a response the request accepts, by what the connector supports.
func (x *exchange) negotiate(conn *registry.Conn) {
	x.accept, x.framed, x.expects = "", false, false
	switch {
	case x.webSocket:
	case conn.Interim() && x.r.ProtoAtLeast(1, 1):
		x.accept, x.expects = acceptInterim, x.hasBody() && expectsContinue(x.r)
	case conn.Frames():
		x.accept = acceptFrames
	}
}

// originTarget is the path and query of a request.
func originTarget(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	target := r.URL.RequestURI()
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	return target
}

func (x *exchange) hasBody() bool {
	return x.r.Body != nil && x.r.Body != http.NoBody && x.r.ContentLength != 0
}

// repeatable reports whether a request that an origin may have seen may be sent again (RFC 9110 9.2.2): only with a method
// that changes nothing, and only without a body.
func (x *exchange) repeatable() bool {
	switch x.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return !x.hasBody()
	default:
		return false
	}
}

// attemptHTTP sends the request on one connection and passes the response on, if there is one.
func (x *exchange) attemptHTTP(conn *registry.Conn) *dispatch.Failure {
	st, unwatch, f := dispatch.Open(x.r.Context(), conn, x.head)
	if f != nil {
		return f
	}
	defer unwatch()
	started := time.Now()
	var up *upload
	defer func() { up.stop() }()
	switch {
	case x.expects: // the body is sent when the connector wants it
		x.front.limitWait(st)
	case x.hasBody():
		up = x.startUpload(st)
	default:
		if err := st.CloseWrite(); err != nil {
			transport.Abort(st)
			return &dispatch.Failure{Kind: dispatch.Lost, Detail: err.Error(), Retry: x.repeatable()}
		}
		x.front.limitWait(st)
	}
	rest, err := dispatch.ReadHead(st, x.buf[:], dispatch.Input{}, &x.resp)
	for n := 0; err == nil && x.interim(n); n++ {
		if x.expects && up == nil && x.statusIs("100") {
			_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
			up = x.startUpload(st)
		}
		rest, err = dispatch.ReadHead(st, x.buf[:], rest, &x.resp)
	}
	up.responded(st, x.front.cfg.ResponseHeaderTimeout > 0)
	x.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		transport.Abort(st)
		return x.noResponse(err, up)
	}
	if f := dispatch.RefusalOf(&x.resp, x.uploading); f != nil {
		transport.Abort(st)
		return f
	}
	if x.expects && up == nil {
		// The body is not wanted. The connector learns it after the response: over HTTP/2 a reset ends both directions.
		x.unwanted = true
		defer st.CancelWrite(transport.NoError)
	}
	return x.respond(st, rest, up)
}

// noResponse makes the failure of an attempt that got no head of a response.
func (x *exchange) noResponse(err error, up *upload) *dispatch.Failure {
	if x.r.Context().Err() != nil || up.visitorLeft() {
		return &dispatch.Failure{Kind: dispatch.Canceled, Detail: err.Error()}
	}
	f := dispatch.NoResponse(err, x.repeatable())
	if up.stalled() {
		f.Kind = dispatch.Timeout
	}
	return f
}

// limitWait bounds how long the head of the response may take.
func (f *Front) limitWait(st transport.Stream) {
	if d := f.cfg.ResponseHeaderTimeout; d > 0 {
		_ = st.SetReadDeadline(time.Now().Add(d)) // fails only on a dead stream, where the next read fails as well
	}
}

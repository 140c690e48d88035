package front

import (
	"errors"
	"io"
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

// errConnectionHeads means that the heads of the requests in flight on a connection exceed the limit.
var errConnectionHeads = errors.New("the heads of all requests in flight on the visitor's connection exceed the limit")

const (
	bufferSize = 32 << 10
	// maxKeptHead is the largest request head buffer that is kept for later requests.
	maxKeptHead = 64 << 10
	// finTimeout is how long the connector may take to send FIN after a complete response.
	finTimeout = 5 * time.Second
)

// roundTrip carries one request to a connector, and the response back.
type roundTrip struct {
	front   *Front
	w       visitorconn.ResponseWriter
	r       *http.Request
	conn    *visitorconn.State
	visitor headpolicy.Visitor
	// webSocket is set for the handshake of a WebSocket; key is the key that the edge made for a handshake over HTTP/2.
	webSocket bool
	key       string
	// protocol is the value of Upgrade when the visitor asks for another protocol than WebSocket.
	protocol string
	// tunnel gets the request. via is the connection of the attempt, attempts the number of attempts so far.
	tunnel   tunnel.ID
	via      *registry.Conn
	attempts int
	// accept lists the extensions that the connector may use in its response. expects is set when the connector decides whether the
	// body is sent, framed when the body is sent in frames.
	accept          string
	expects, framed bool
	// end is the result of an attempt that did not fail.
	end ending
	// begun is set once the visitor has got the beginning of a response.
	begun bool
	// uploading is set once the body is being read, unwanted when the connector responded without it.
	uploading, unwanted bool
	// sender chooses the connection.
	sender *dispatch.Sender
	// managementKey is the metadata of a request for the management host, "" for others.
	managementKey string
	// headCost is the size of the head, as it counts in the limit of the visitor's connection.
	headCost int
	*scratch
}

// scratch is the memory of a round trip, which later ones reuse.
type scratch struct {
	buf  [bufferSize]byte
	head []byte
	req  stream.Request
	resp stream.Response
	// first waits for the response of a repeatable request.
	first dispatch.First
}

func newScratch() any { return new(scratch) }

// free returns the memory to the pool, and the size of the head to the limit of the visitor's connection.
func (rt *roundTrip) free() {
	s := rt.scratch
	if s == nil {
		return
	}
	rt.scratch = nil
	rt.conn.GiveHead(rt.headCost)
	clear(s.req.Metadata[:cap(s.req.Metadata)])
	clear(s.resp.Metadata[:cap(s.resp.Metadata)])
	s.req = stream.Request{Metadata: s.req.Metadata[:0]}
	s.resp = stream.Response{Metadata: s.resp.Metadata[:0]}
	s.first = dispatch.First{}
	if cap(s.head) <= maxKeptHead {
		rt.front.scratches.Put(s)
	}
}

// carry sends the request to a connection of the tunnel, and again to others as package dispatch allows.
func (rt *roundTrip) carry(id tunnel.ID) ending {
	rt.scratch = rt.front.scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	defer rt.free()
	ctx := rt.r.Context()
	rt.tunnel = id
	conn, failure := rt.sender.Send(ctx, id, rt.attempt)
	switch {
	case failure == nil:
		conn.Release()
		return rt.end
	case failure.Kind == dispatch.Canceled, ctx.Err() != nil:
		return aborted
	}
	if rt.managementKey != "" && failure.Kind == dispatch.NoConnection {
		return rt.managementError(statusNoConnector, "the tunnel has no such connector")
	}
	page := pageOf(failure)
	if failure.Kind != dispatch.TooLarge && failure.Kind != dispatch.Busy {
		rt.report(page, failure, conn)
	}
	return rt.page(page, failure.Detail)
}

// attempt runs the round trip on one connection.
func (rt *roundTrip) attempt(conn *registry.Conn) *dispatch.Failure {
	if f := rt.encode(conn); f != nil {
		return f
	}
	rt.via = conn
	rt.attempts++
	switch {
	case rt.protocol != "" && !conn.Upgrades(): // to run it as an ordinary request would change its meaning
		rt.end = rt.page(upgradeUnsupported(), "")
		return nil
	case rt.protocol != "", rt.webSocket:
		return rt.attemptUpgrade(conn)
	}
	return rt.attemptHTTP(conn)
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

// report logs the details that the page does not show. At most one line per logInterval is above debug.
func (rt *roundTrip) report(page *problem, f *dispatch.Failure, conn *registry.Conn) {
	level := slog.LevelDebug
	if rt.front.warnings.Allow() {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String(logkey.Code, page.code), slog.String(logkey.RequestID, rt.visitor.Ray), slog.String(logkey.Host, rt.r.Host),
		slog.String(logkey.Err, f.Detail),
	}
	if conn != nil {
		attrs = append(attrs, slog.Int(logkey.ConnIndex, int(conn.Slot.Index)))
	}
	rt.front.deps.Logger.LogAttrs(rt.r.Context(), level, "request failed", attrs...)
}

// Values of the metadata that lists the extensions a response may use.
const (
	acceptFrames  = stream.AcceptFrames
	acceptInterim = stream.AcceptFrames + "," + stream.AcceptInterim
)

// encode builds the head of the request for a connection in rt.head.
func (rt *roundTrip) encode(conn *registry.Conn) *dispatch.Failure {
	rt.req.Dest = rt.visitor.Scheme + "://" + rt.r.Host + originTarget(rt.r)
	head := headpolicy.Request{
		Method: rt.r.Method, Host: rt.r.Host, Header: rt.r.Header, Visitor: rt.visitor, WebSocket: rt.webSocket || rt.protocol != "", Key: rt.key,
		Body: headpolicy.Body{Length: rt.r.ContentLength},
	}
	rt.req.Type = stream.HTTP
	if rt.webSocket {
		rt.req.Type, head.Method = stream.WebSocket, http.MethodGet // also of an extended CONNECT
	}
	if rt.protocol != "" {
		rt.req.Type = stream.WebSocket
	}
	rt.negotiate(conn)
	head.Body.Expect = rt.expects
	if rt.accept != "" && len(rt.r.Trailer) > 0 && rt.hasBody() {
		head.Body.Trailers = headpolicy.TrailerNames(rt.r.Trailer)
		if rt.framed = head.Body.Trailers != ""; rt.framed {
			head.Body.Length = -1
		}
	}
	md, cost, err := headpolicy.AppendRequest(rt.req.Metadata[:0], &head, rt.front.header)
	rt.req.Metadata = md
	if err == nil && rt.headCost == 0 && !rt.conn.TakeHead(cost, rt.front.cfg.Limits.ConnectionHeaderBytes) {
		err = errConnectionHeads
	}
	if err != nil {
		return &dispatch.Failure{Kind: dispatch.TooLarge, Detail: err.Error()}
	}
	if rt.headCost == 0 {
		rt.headCost = cost
	}
	rt.appendExtensions(conn)
	if rt.head, err = rt.req.Append(rt.head[:0]); err != nil {
		return &dispatch.Failure{Kind: dispatch.TooLarge, Detail: err.Error()}
	}
	return nil
}

// appendExtensions appends the metadata of our own extensions (docs/extensions.md).
func (rt *roundTrip) appendExtensions(conn *registry.Conn) {
	if rt.managementKey != "" && conn.OwnKind() {
		rt.req.Metadata = append(rt.req.Metadata, stream.Pair{Key: stream.KeyManagement, Val: rt.managementKey})
	}
	if rt.accept != "" {
		rt.req.Metadata = append(rt.req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: rt.accept})
	}
	if rt.protocol != "" {
		rt.req.Metadata = append(rt.req.Metadata, stream.Pair{Key: stream.KeyUpgrade, Val: rt.protocol})
	}
	if rt.framed {
		rt.req.Metadata = append(rt.req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
}

// negotiate decides which extensions the response may use. The connector must support them.
func (rt *roundTrip) negotiate(conn *registry.Conn) {
	rt.accept, rt.framed, rt.expects = "", false, false
	switch {
	case rt.webSocket, rt.protocol != "":
	case conn.Interim() && rt.r.ProtoAtLeast(1, 1):
		rt.accept, rt.expects = acceptInterim, rt.hasBody() && expectsContinue(rt.r)
	case conn.Frames():
		rt.accept = acceptFrames
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

func (rt *roundTrip) hasBody() bool {
	return rt.r.Body != nil && rt.r.Body != http.NoBody && rt.r.ContentLength != 0
}

// repeatable reports whether a request that an origin may have seen may be sent again (RFC 9110 9.2.2): only with a method
// that changes nothing, and only without a body.
func (rt *roundTrip) repeatable() bool {
	switch rt.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return !rt.hasBody()
	default:
		return false
	}
}

// attemptHTTP sends the request on one connection and passes the response on, if there is one.
func (rt *roundTrip) attemptHTTP(conn *registry.Conn) *dispatch.Failure {
	st, unwatch, f := dispatch.Open(rt.r.Context(), conn, rt.head)
	if f != nil {
		return f
	}
	defer unwatch()
	started := time.Now()
	var up *upload
	defer func() { up.stop() }()
	switch {
	case rt.expects: // the body is sent when the connector requests it
	case rt.hasBody():
		up = rt.startUpload(st)
	default:
		if err := st.CloseWrite(); err != nil {
			transport.Abort(st)
			return &dispatch.Failure{Kind: dispatch.Lost, Detail: err.Error(), Retry: rt.repeatable()}
		}
	}
	in, rest, err := rt.begin(conn, st)
	if err == nil {
		rest, err = dispatch.ReadHead(in, rt.buf[:], rest, &rt.resp)
	}
	for n := 0; err == nil && rt.interim(n); n++ {
		if rt.expects && up == nil && rt.statusIs("100") {
			_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
			up = rt.startUpload(st)
		}
		rest, err = dispatch.ReadHead(in, rt.buf[:], rest, &rt.resp)
	}
	up.responded(st, rt.front.cfg.ResponseHeaderTimeout > 0 || rt.repeatable())
	rt.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		transport.Abort(st)
		return rt.noResponse(err, up)
	}
	if f := dispatch.RefusalOf(&rt.resp, rt.uploading); f != nil {
		transport.Abort(st)
		return f
	}
	if rt.expects && up == nil {
		// The connector does not want the body. The reset comes after the response: over HTTP/2 it ends both directions.
		rt.unwanted = true
		defer st.CancelWrite(transport.NoError)
	}
	return rt.respond(st, rest, up)
}

// begin begins to wait for the response. That of a repeatable request is awaited here, as long as the connection is trusted; in is
// the reader for the bytes behind those in first.
func (rt *roundTrip) begin(conn *registry.Conn, st transport.Stream) (in io.Reader, first dispatch.Input, err error) {
	switch {
	case rt.repeatable():
		rt.first = dispatch.First{Conn: conn, Stream: st, Leaver: rt}
		if d := rt.front.cfg.ResponseHeaderTimeout; d > 0 {
			rt.first.Limit = time.Now().Add(d)
		}
		first, err = rt.first.Wait(rt.buf[:])
		return &rt.first, first, err
	case rt.expects || !rt.hasBody(): // otherwise the wait is limited once the body is sent
		rt.front.limitWait(st)
	}
	return st, first, nil
}

// Leaves decides whether the request leaves a connection in doubt: when there is a better one, and another attempt is allowed.
func (rt *roundTrip) Leaves(doubted *registry.Conn) bool {
	return rt.attempts < dispatch.MaxAttempts && rt.sender.Elsewhere(rt.tunnel, doubted)
}

// noResponse makes the failure of an attempt that got no head of a response.
func (rt *roundTrip) noResponse(err error, up *upload) *dispatch.Failure {
	if rt.r.Context().Err() != nil || up.visitorLeft() {
		return &dispatch.Failure{Kind: dispatch.Canceled, Detail: err.Error()}
	}
	if errors.Is(err, dispatch.ErrDoubt) {
		rt.front.metrics.doubtRetries.Inc()
	}
	f := dispatch.NoResponse(err, rt.repeatable())
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

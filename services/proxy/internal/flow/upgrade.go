package flow

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/duplex"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

const (
	keyHeader = "Sec-Websocket-Key"
	keyUpgr   = stream.HeaderPrefix + "Upgrade"
	keyConn   = stream.HeaderPrefix + "Connection"
	keyAccept = stream.HeaderPrefix + "Sec-Websocket-Accept"
)

// serveWebSocket passes a websocket request, or one for another protocol, to the route's origin. Whatever the request says of a body,
// what follows the head is the visitor's stream.
func (x *flowState) serveWebSocket(ctx context.Context, p *parsed, rest []byte) error {
	p.length = 0
	o := x.route.Origin
	if p.upgrade != "" && o.Kind != origin.KindHTTP {
		return errUpgrade
	}
	switch o.Kind {
	case origin.KindHTTP:
		return x.upgrade(ctx, p, o, rest)
	case origin.KindStatus:
		if o.Status == http.StatusSwitchingProtocols {
			return errSwitched
		}
		return x.answer(ctx, o.Status)
	case origin.KindHandler:
		if o.Echoes && p.path == origin.EchoPath {
			return x.echo(ctx, p, rest)
		}
		return x.handle(ctx, p, o)
	case origin.KindStream:
		return x.serveService(ctx, p, o, rest)
	}
	return errNoRoute
}

// upgrade passes a websocket handshake, or a request for another protocol, on to an HTTP origin, and then bytes both ways without a
// look at them (docs/spec/ingress.md 8.1). Any other response than 101 goes back as it is.
func (x *flowState) upgrade(ctx context.Context, p *parsed, o *origin.Origin, rest []byte) error {
	if x.route.Origins != nil {
		return x.upgradeAny(ctx, p, rest)
	}
	h, err := x.handshake(ctx, p, o)
	if err != nil {
		return err
	}
	return x.switchOver(ctx, p, h, rest)
}

// handshaken is the response to a request to leave HTTP.
type handshaken struct {
	res  *http.Response
	conn net.Conn
	kind streamKind
}

// handshake asks an origin to leave HTTP.
func (x *flowState) handshake(ctx context.Context, p *parsed, o *origin.Origin) (handshaken, error) {
	req, err := x.outgoing(ctx, p, o)
	if err != nil {
		return handshaken{}, err
	}
	req.Header["Connection"] = []string{"Upgrade"}
	h := handshaken{kind: streamWebSocket}
	if p.upgrade != "" {
		h.kind = streamUpgrade
		req.Header["Upgrade"] = []string{p.upgrade}
	} else {
		req.Header["Upgrade"] = []string{"websocket"}
		req.Header["Sec-Websocket-Version"] = []string{"13"}
	}
	if h.res, err = o.Upgrade(req, func(c net.Conn) { h.conn = c }); err != nil { //nolint:bodyclose // switchOver closes it, or who drops it
		return handshaken{}, &originError{err}
	}
	return h, nil
}

// switchOver carries what follows an origin's response to a handshake.
func (x *flowState) switchOver(ctx context.Context, p *parsed, h handshaken, rest []byte) error {
	res, conn, kind := h.res, h.conn, h.kind
	x.h.metrics.firstByte.Observe(time.Since(x.began).Seconds())
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer func() { _ = res.Body.Close() }() // ends an exchange that was not read to its end; nothing else can fail
		return x.forward(ctx, p, res)
	}
	if _, ok := res.Body.(io.Writer); !ok || conn == nil {
		_ = res.Body.Close() // not a protocol switch after all
		return errSwitched
	}
	end := x.originEnd(conn)
	end.From = res.Body // some bytes may have come with the head
	if err := x.setHead(ctx, res.StatusCode, res.Header); err != nil {
		end.Abort()
		return err
	}
	x.resp.Metadata = append(x.resp.Metadata,
		stream.Pair{Key: keyConn, Val: "Upgrade"}, stream.Pair{Key: keyUpgr, Val: res.Header.Get("Upgrade")})
	if err := x.sendHead(); err != nil {
		end.Abort()
		return err
	}
	x.pump(ctx, kind, x.edge(rest), end)
	return nil
}

// acceptWebSocket sends 101 on the proxy's own behalf; without a key no Sec-Websocket-Accept goes with it
// (docs/spec/ingress.md 8.3).
func (x *flowState) acceptWebSocket(ctx context.Context, p *parsed) error {
	x.h.metrics.responded(http.StatusSwitchingProtocols)
	x.startHead(ctx, http.StatusSwitchingProtocols)
	if key := p.header.Get(keyHeader); key != "" {
		x.resp.Metadata = append(x.resp.Metadata,
			stream.Pair{Key: keyConn, Val: "Upgrade"},
			stream.Pair{Key: keyUpgr, Val: "websocket"},
			stream.Pair{Key: keyAccept, Val: websocket.AcceptKey(key)})
	}
	return x.sendHead()
}

// echo is the websocket of the demo origin.
func (x *flowState) echo(ctx context.Context, p *parsed, rest []byte) error {
	if p.header.Get(keyHeader) == "" {
		return badRequest("websocket key missing")
	}
	if err := x.acceptWebSocket(ctx, p); err != nil {
		return err
	}
	x.clock.switched()
	stop := abortWith(ctx, x.s)
	defer stop()
	m := x.h.streams.metrics
	m.begin(streamWebSocket)
	err := websock.Echo(x.s, x.edge(rest))
	if err != nil {
		m.end(streamWebSocket, duplex.EdgeFailed)
		return &leftError{err}
	}
	m.end(streamWebSocket, duplex.Ended)
	return nil
}

// abortWith aborts a stream when ctx ends. Call stop before the stream's flow is over; it says whether ctx had ended.
func abortWith(ctx context.Context, s interface{ Abort() }) (stop func() (aborted bool)) {
	done := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(done)
		s.Abort()
	})
	return func() bool {
		if release() {
			return false
		}
		<-done
		return true
	}
}

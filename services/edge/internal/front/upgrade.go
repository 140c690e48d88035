package front

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/upgrade"
)

// attemptUpgrade sends the handshake of a WebSocket on one connection. When it is accepted, it carries bytes both ways until
// both ends are done. Nothing that the visitor sends behind the handshake is read before that, so that a failed attempt
// may be followed by another.
func (x *exchange) attemptUpgrade(conn *registry.Conn) *dispatch.Failure {
	st, unwatch, f := dispatch.Open(x.r.Context(), conn, x.head)
	if f != nil {
		return f
	}
	defer unwatch()
	started := time.Now()
	x.front.limitWait(st)
	rest, err := dispatch.ReadHead(st, x.buf[:], dispatch.Input{}, &x.resp)
	_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
	x.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		transport.Abort(st)
		f := x.noResponse(err, nil)
		f.Retry = false // an origin may have seen the handshake
		return f
	}
	if f := dispatch.RefusalOf(&x.resp, false); f != nil {
		transport.Abort(st)
		return f
	}
	h := make(http.Header)
	head, err := headpolicy.ParseResponse(h, x.resp.Metadata, x.front.header)
	switch {
	case err != nil: // respond reports it
	case upgrade.Accepted(head.Status, h, x.sentKey(), conn.Protocol):
		return x.switchProtocols(st, h, rest, conn.HalfClose())
	case head.Status == http.StatusSwitchingProtocols, x.r.ProtoMajor > 1 && head.Status/100 == 2:
		// The visitor must not take either for an accepted handshake.
		transport.Abort(st)
		x.end = x.page(noWebSocket(), "")
		return nil
	}
	f = x.respond(st, rest, nil)
	st.CancelWrite(transport.NoError)
	return f
}

// sentKey is the key of the handshake that the connector got.
func (x *exchange) sentKey() string {
	if x.key != "" {
		return x.key
	}
	return x.r.Header.Get(headpolicy.ClientKey)
}

// switchProtocols tells the visitor that its handshake was accepted, and carries what follows.
func (x *exchange) switchProtocols(st transport.Stream, h http.Header, rest dispatch.Input, halfClose bool) *dispatch.Failure {
	addr, _ := netip.ParseAddr(x.visitor.Addr) // the zero value outside a server of visitorconn
	u, ok := x.front.upgrades.Admit(upgrade.Visitor{Addr: addr, Request: x.r, Writer: &x.w},
		upgrade.Connector{Conn: x.via, Stream: st, HalfClose: halfClose})
	if !ok {
		transport.Abort(st)
		x.end = x.page(tooManyWebSockets(), "")
		return nil
	}
	defer u.Close()
	if err := u.Accept(h, rest.Bytes); err != nil {
		transport.Abort(st)
		x.end = aborted
		return nil
	}
	x.free() // for other exchanges: this one may last for hours
	switch err := u.Run(rest.Ended); {
	case err == nil:
		x.end = served
	case errors.Is(err, upgrade.ErrVisitorGone):
		x.end = aborted
	default:
		x.end = truncated
	}
	return nil
}

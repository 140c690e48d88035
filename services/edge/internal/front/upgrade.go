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

// attemptUpgrade sends the handshake of a WebSocket, or a request for another protocol, on one connection. When it is accepted, it
// carries bytes both ways until both ends are done. Nothing that the visitor sends behind the handshake is read before that, so
// that a failed attempt may be followed by another.
func (rt *roundTrip) attemptUpgrade(conn *registry.Conn) *dispatch.Failure {
	st, unwatch, f := dispatch.Open(rt.r.Context(), conn, rt.head)
	if f != nil {
		return f
	}
	defer unwatch()
	started := time.Now()
	rt.front.limitWait(st)
	rest, err := dispatch.ReadHead(st, rt.buf[:], dispatch.Input{}, &rt.resp)
	_ = st.SetReadDeadline(time.Time{}) // fails only on a dead stream, where the next read fails as well
	rt.front.metrics.wait.Observe(time.Since(started).Seconds())
	if err != nil {
		transport.Abort(st)
		f := rt.noResponse(err, nil)
		f.Retry = false // an origin may have seen the handshake
		return f
	}
	if f := dispatch.RefusalOf(&rt.resp, false); f != nil {
		transport.Abort(st)
		return f
	}
	h := make(http.Header)
	head, err := headpolicy.ParseResponse(h, rt.resp.Metadata, rt.front.header)
	switch {
	case err != nil: // respond reports it
	case rt.protocol != "":
		if protocol := upgrade.Switched(head.Status, headpolicy.Values(rt.resp.Metadata, headpolicy.Upgrade), rt.protocol); protocol != "" {
			return rt.switchProtocols(st, protocol, h, rest, conn.HalfClose())
		}
		if head.Status == http.StatusSwitchingProtocols {
			transport.Abort(st)
			rt.end = rt.page(connectorError(), "")
			return nil
		}
	case upgrade.Accepted(head.Status, h, rt.sentKey(), conn.Protocol):
		return rt.switchProtocols(st, upgrade.WebSocket, h, rest, conn.HalfClose())
	case head.Status == http.StatusSwitchingProtocols, rt.r.ProtoMajor > 1 && head.Status/100 == 2:
		// The visitor must not take either for an accepted handshake.
		transport.Abort(st)
		rt.end = rt.page(noWebSocket(), "")
		return nil
	}
	f = rt.respond(st, rest, nil)
	st.CancelWrite(transport.NoError)
	return f
}

// sentKey is the key of the handshake that the connector got.
func (rt *roundTrip) sentKey() string {
	if rt.key != "" {
		return rt.key
	}
	return rt.r.Header.Get(headpolicy.ClientKey)
}

// switchProtocols tells the visitor that its handshake was accepted, and carries what follows.
func (rt *roundTrip) switchProtocols(
	st transport.Stream, protocol string, h http.Header, rest dispatch.Input, halfClose bool,
) *dispatch.Failure {
	addr, _ := netip.ParseAddr(rt.visitor.Addr) // the zero value outside a server of visitorconn
	u, ok := rt.front.upgrades.Admit(upgrade.Visitor{Addr: addr, Protocol: protocol, Request: rt.r, Writer: &rt.w},
		upgrade.Connector{Conn: rt.via, Stream: st, HalfClose: halfClose})
	if !ok {
		transport.Abort(st)
		rt.end = rt.page(tooManyWebSockets(), "")
		return nil
	}
	defer u.Close()
	if err := u.Accept(h, rest.Bytes); err != nil {
		transport.Abort(st)
		rt.end = aborted
		return nil
	}
	rt.free() // for other requests: this one may last for hours
	switch err := u.Run(rest.Ended); {
	case err == nil:
		rt.end = served
	case errors.Is(err, upgrade.ErrVisitorGone):
		rt.end = aborted
	default:
		rt.end = truncated
	}
	return nil
}

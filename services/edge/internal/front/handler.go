package front

import (
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
	"github.com/culvert-tunnel/culvert/services/edge/internal/upgrade"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
	"github.com/culvert-tunnel/culvert/services/edge/internal/xconnect"
)

// maxPasses is how often one request may pass this edge. An origin that is a proxy may send a request to another host of the same
// edge; a request in a loop would use up every limit of the edge.
const maxPasses = 8

// handler serves the requests of one listener.
type handler struct {
	front  *Front
	scheme string
}

// ServeHTTP serves one request. A response that cannot be completed ends the visitor's connection or stream.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := h.front.metrics
	m.inFlight.Inc()
	defer m.inFlight.Dec()
	state := visitorconn.Of(r.Context())
	if state.Upgraded() {
		w.Header().Set(headpolicy.Connection, "close") // the guard no longer examines this connection
	}
	rt := roundTrip{
		front: h.front, w: visitorconn.NewResponseWriter(w, r, h.front.cfg.BodyIdleTimeout), r: r, conn: state,
		visitor: h.visitorOf(state, r), sender: h.front.sender,
	}
	end := rt.serve() //nolint:contextcheck // rt holds r, whose context is the one to use
	if end == aborted && !rt.begun {
		if refusal := state.Refusal(); refusal != nil { // the guard refused a part of the body
			end = rt.page(refused(refusal.Reason.Status()), "") //nolint:contextcheck // as above
		}
	}
	if r.ProtoMajor == 1 && rt.hasBody() && !rt.uploading {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTimeout)) // supported by the server's own writers
	}
	m.requests[end].Inc()
	if end == aborted || end == truncated {
		panic(http.ErrAbortHandler) // the only way to end a response so that it does not look complete
	}
}

// visitorOf determines the address and the scheme of the visitor. A trusted proxy may state them.
func (h handler) visitorOf(state *visitorconn.State, r *http.Request) headpolicy.Visitor {
	v := headpolicy.Visitor{
		Addr: state.PeerText, Peer: state.PeerText, Scheme: h.scheme, Ray: newRay(h.front.cfg.Location), Loop: h.front.loopItem,
		TrustedProxy: state.TrustedProxy,
	}
	if !state.TrustedProxy {
		return v
	}
	stated := h.front.proxies.Resolve(state.Peer, r.Header)
	v.Addr = stated.Addr.String()
	if stated.Scheme != "" {
		v.Scheme = stated.Scheme
	}
	if httpfield.IsValue(stated.Host) {
		v.Host = stated.Host
	}
	return v
}

// serve finds the tunnel of a request and carries it there, unless the edge itself has to respond.
func (rt *roundTrip) serve() ending {
	if p := rt.classify(); p != nil {
		return rt.page(p, "")
	}
	host, err := route.Canonical(rt.r.Host)
	if err != nil {
		return rt.page(badHost(), "")
	}
	if m := rt.front.deps.Management; m != nil && m.IsHost(host) {
		return rt.serveManagement()
	}
	entry, ok := rt.front.deps.Routes.Lookup(host)
	if !ok {
		return rt.page(unknownHost(), "")
	}
	return rt.carry(entry.Tunnel)
}

// classify determines the kind of the request. It returns the error page for a request that the edge does not carry.
func (rt *roundTrip) classify() *problem {
	r := rt.r
	if r.ProtoMajor > 1 {
		if p := rt.check2(); p != nil {
			return p
		}
	}
	switch {
	case r.Method == http.MethodConnect:
		if protocol := r.Header[xconnect.Protocol]; len(protocol) != 1 || protocol[0] != upgrade.WebSocket {
			return methodUnsupported()
		}
		rt.webSocket, rt.key = true, upgrade.NewKey()
	case r.Method == http.MethodTrace: // the response would show the visitor fields that are for the origin only (RFC 9110 9.3.8)
		return methodNotAllowed()
	case headpolicy.Passes(r.Header, rt.front.loopItem) >= maxPasses:
		return loopDetected()
	default:
		return rt.classifyUpgrade()
	}
	return nil
}

// classifyUpgrade recognizes a request to switch from HTTP/1 to another protocol.
func (rt *roundTrip) classifyUpgrade() *problem {
	h := rt.r.Header
	switch protocols := h[headpolicy.Upgrade]; {
	case len(protocols) == 0, rt.r.ProtoMajor > 1, rt.r.ProtoMinor == 0, !httpfield.ListHasToken(h[headpolicy.Connection], "upgrade"):
		return nil // not a request for another protocol
	case rt.r.Method == http.MethodGet && httpfield.ListHasToken(protocols, upgrade.WebSocket):
		rt.webSocket = true
		return nil
	case httpfield.ListHasToken(protocols, "h2c"): // concerns this hop only, and may be ignored (RFC 9110 7.8)
		return nil
	case rt.r.Method == http.MethodGet && !rt.hasBody():
		rt.protocol = strings.Join(protocols, ", ")
		return nil
	default: // to run it as an ordinary request would change its meaning
		return upgradeUnsupported()
	}
}

// check2 returns why a request over HTTP/2 is malformed, or nil. Over HTTP/1 the guard refuses such requests.
func (rt *roundTrip) check2() *problem {
	r := rt.r
	target := rt.front.cfg.Limits.TargetBytes
	switch {
	case !knowsLength(r), !httpfield.IsTarget(r.RequestURI) && r.Method != http.MethodConnect:
		return malformed()
	case r.Method != http.MethodConnect && len(r.Header[xconnect.Protocol]) > 0: // only a CONNECT has one (RFC 8441 4)
		return malformed()
	case target > 0 && len(r.RequestURI) > target:
		return targetTooLong()
	}
	// Host may accompany :authority; if they differ, two servers may choose different hosts (RFC 9113 8.3.1).
	for _, host := range r.Header["Host"] {
		if !httpfield.EqualFold(host, r.Host) {
			return malformed()
		}
	}
	return nil
}

// knowsLength reports whether the declared length of a request over HTTP/2, if there is one, is the length of its body (RFC 9113
// 8.1.1). net/http treats an unparsable Content-Length as absent, and does not check the length of a request without a body.
func knowsLength(r *http.Request) bool {
	declared := r.Header[headpolicy.ContentLength]
	if len(declared) == 0 {
		return true
	}
	n, ok := httpfield.ParseLength(declared[0])
	return ok && len(declared) == 1 && n == r.ContentLength
}

// page responds with an error page; detail is text for visitors that may see it.
func (rt *roundTrip) page(p *problem, detail string) ending {
	if !rt.front.cfg.ExposeErrors {
		detail = ""
	}
	if rt.r.ProtoMajor == 1 && rt.r.ContentLength != 0 {
		rt.w.Header().Set(headpolicy.Connection, "close") // nothing reads the rest of the body
	}
	rt.begun = true
	p.write(rt.front.page, &rt.w, rt.r, rt.visitor.Ray, detail)
	rt.front.deps.Logger.DebugContext(rt.r.Context(), "error page sent", slog.String(logkey.Code, p.code),
		slog.String(logkey.RequestID, rt.visitor.Ray), slog.String(logkey.Host, rt.r.Host))
	return errorPage
}

// newRay makes a request id: 16 random hexadecimal digits and the edge's location.
func newRay(location string) string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], rand.Uint64())
	b := make([]byte, 0, 40)
	b = hex.AppendEncode(b, raw[:])
	b = append(b, '-')
	return string(append(b, location...))
}

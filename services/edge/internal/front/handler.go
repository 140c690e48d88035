package front

import (
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
	"github.com/culvert-tunnel/culvert/services/edge/internal/xconnect"
)

// kind is what a visitor wants; each kind is carried in its own way.
type kind int

const (
	kindHTTP kind = iota
	kindWebSocket
	kindConnect
	kindMalformed
)

func kindOf(r *http.Request) kind {
	switch {
	case r.Method == http.MethodConnect:
		if p := r.Header[xconnect.Protocol]; len(p) == 1 && p[0] == "websocket" {
			return kindWebSocket
		}
		return kindConnect
	case r.ProtoMajor > 1 && !knowsLength(r):
		return kindMalformed
	case r.ProtoMajor > 1 && len(r.Header[xconnect.Protocol]) > 0: // only a CONNECT has one (RFC 8441, 4)
		return kindMalformed
	case len(r.Header["Upgrade"]) > 0 && r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor > 0 && httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade"):
		return kindWebSocket
	default: // an upgrade to anything else may be ignored, and is
		return kindHTTP
	}
}

// knowsLength reports whether the length that a request announces, if it does, is that of its body (RFC 9113, 8.1.1). The library
// takes a length that it cannot read for none, and does not compare with a body that is not there.
func knowsLength(r *http.Request) bool {
	said := r.Header["Content-Length"]
	if len(said) == 0 {
		return true
	}
	n, err := strconv.ParseUint(said[0], 10, 63)
	return err == nil && len(said) == 1 && int64(n) == r.ContentLength
}

// handler serves the requests of one listener.
type handler struct {
	front  *Front
	scheme string
}

// ServeHTTP answers one request. An answer that cannot be completed ends the visitor's connection or stream.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := h.front.metrics
	m.inFlight.Inc()
	defer m.inFlight.Dec()
	guard := guardOf(r.Context())
	if guard != nil && guard.upgrade.Load() {
		w.Header().Set("Connection", "close") // nothing on this connection is guarded any more
	}
	x := exchange{front: h.front, w: w, r: r, visitor: visitor{ip: ipOf(r.RemoteAddr), scheme: h.scheme, ray: newRay(h.front.cfg.Location)}}
	res := x.serve() //nolint:contextcheck // x holds r, whose context is the one to use
	if res == resultAborted && !x.begun && guard != nil && guard.refusal.Load() != nil {
		res = x.page(malformed(), "") //nolint:contextcheck // as above
	}
	if r.ProtoMajor == 1 && x.hasBody() && !x.uploading {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTimeout)) // supported by the server's own writers
	}
	m.results[res].Inc()
	if res == resultAborted || res == resultBroken {
		panic(http.ErrAbortHandler) // the only way to end an answer so that it does not look complete
	}
}

// serve is the switch over the kinds of traffic.
func (x *exchange) serve() result {
	switch kindOf(x.r) {
	case kindConnect:
		return x.page(methodUnsupported(), "")
	case kindMalformed:
		return x.page(malformed(), "")
	case kindWebSocket:
		x.visitor.webSocket = true
		if x.r.ProtoMajor > 1 {
			x.visitor.key = newKey()
		}
	case kindHTTP:
	}
	host, err := route.Canonical(x.r.Host)
	if err != nil {
		return x.page(badHost(), "")
	}
	entry, ok := x.front.deps.Routes.Lookup(host)
	if !ok {
		return x.page(unknownHost(), "")
	}
	return x.carry(entry.Tunnel)
}

// page answers with a problem; detail is text for visitors who may see it.
func (x *exchange) page(p *problem, detail string) result {
	if !x.front.cfg.ExposeErrors {
		detail = ""
	}
	if x.r.ProtoMajor == 1 && x.r.ContentLength != 0 {
		x.w.Header().Set("Connection", "close") // nobody reads the rest of the body
	}
	x.begun = true
	p.write(x.front.page, x.w, x.r, x.visitor.ray, detail)
	x.front.deps.Logger.DebugContext(x.r.Context(), "request answered by the edge", slog.String(logkey.Code, p.code),
		slog.String(logkey.RequestID, x.visitor.ray), slog.String(logkey.Host, x.r.Host))
	return resultPage
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

// ipOf cuts the port off a remote address.
func ipOf(remote string) string {
	i := strings.LastIndexByte(remote, ':')
	if i < 0 {
		return remote
	}
	ip := remote[:i]
	if len(ip) > 1 && ip[0] == '[' {
		ip = ip[1 : len(ip)-1]
	}
	return ip
}

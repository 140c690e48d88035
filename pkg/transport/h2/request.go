package h2

import (
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// localURL is the host of a request without one (docs/spec/wire.md 9.4).
const localURL = "localhost:8080"

// asked is what the connector keeps of a request for its answer.
type asked struct {
	kind h2head.Kind
	// key is the Sec-WebSocket-Key of a TCP request.
	key string
	// framed says that the request's body is to be framed, details that the edge wants the connector's error in full.
	framed, details bool
	// interim says that interim answers are welcome, head that the method is HEAD.
	interim, head bool
}

// pseudo are the fields that say where a request goes.
type pseudo struct{ method, scheme, authority, path, host string }

// requestReader collects what a head says.
type requestReader struct {
	n *names
	pseudo
	asked
	req    *stream.Request
	accept string
	sized  bool     // there is a length
	cookie int      // where the first cookie is in req.Metadata, 0 without any
	more   []string // the cookies after it
}

// toRequest turns the head of an HTTP/2 request into a ConnectRequest. ended says that no body follows.
func (n *names) toRequest(head []mux.Field, ended bool, req *stream.Request) asked {
	r := requestReader{n: n, req: req, accept: stream.AcceptFrames}
	r.kind = kindOf(head)
	req.Metadata = append(req.Metadata[:0], stream.Pair{}, stream.Pair{}) // method and host come first
	for i := range head {
		if !r.place(head[i].Name, head[i].Value) {
			r.header(head[i].Name, head[i].Value)
		}
	}
	if len(r.more) > 0 {
		req.Metadata[r.cookie].Val += "; " + strings.Join(r.more, "; ")
	}
	r.authority = first(r.authority, r.host)
	r.head = r.method == "HEAD"
	if r.kind == h2head.TCP {
		r.toTCP(head)
		return r.asked
	}
	r.fill(req, r.kind)
	r.framed = r.framed && r.kind == h2head.HTTP && !ended
	if r.kind != h2head.HTTP {
		return r.asked
	}
	if !r.sized && !ended || r.framed {
		req.Metadata = append(req.Metadata, stream.Pair{Key: n.key("transfer-encoding"), Val: "chunked"})
	}
	if r.framed {
		req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
	req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: r.accept})
	return r.asked
}

// place takes in a field that says where the request goes.
func (r *requestReader) place(name, val string) bool {
	switch name {
	case ":method":
		r.method = val
	case ":scheme":
		r.scheme = val
	case ":authority":
		r.authority = val
	case ":path":
		r.path = val
	case "host":
		r.host = val
	default:
		return strings.HasPrefix(name, ":")
	}
	return true
}

// header takes in any other field.
func (r *requestReader) header(name, val string) {
	switch name {
	case acceptHeader:
		r.details = true
		if stream.Accepts(val, stream.AcceptInterim) {
			r.interim = true
			r.accept += "," + stream.AcceptInterim
		}
		return
	case bodyHeader:
		r.framed = r.framed || val == stream.BodyFrames
		return
	case "cookie": // HTTP/2 may split it
		if r.cookie > 0 {
			r.more = append(r.more, val)
			return
		}
		r.cookie = len(r.req.Metadata)
	case "content-length":
		r.sized = true
	case "trailer":
		r.framed = true
	}
	if !ofOneHop(name) {
		r.req.Metadata = append(r.req.Metadata, stream.Pair{Key: r.n.key(name), Val: val})
	}
}

// fill sets destination, type, method and host.
func (p *pseudo) fill(req *stream.Request, kind h2head.Kind) {
	req.Type = stream.HTTP
	if kind == h2head.WebSocket {
		req.Type = stream.WebSocket
	}
	scheme, host, path := p.scheme, p.authority, p.path
	if scheme == "" {
		scheme = "http"
	}
	if host == "" {
		host = localURL
	}
	if path != "*" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req.Dest = scheme + "://" + host + path
	req.Metadata[0] = stream.Pair{Key: stream.KeyMethod, Val: p.method}
	req.Metadata[1] = stream.Pair{Key: stream.KeyHost, Val: p.authority}
}

// toTCP makes a TCP request: the destination is the authority, headers mean nothing but for tracing and the visitor.
func (r *requestReader) toTCP(head []mux.Field) {
	r.req.Type, r.req.Dest, r.req.Metadata = stream.TCP, r.authority, r.req.Metadata[:0]
	r.framed, r.head = false, false
	for i := range head {
		val := head[i].Value
		switch head[i].Name {
		case h2head.TraceID:
			r.req.Metadata = append(r.req.Metadata, stream.Pair{Key: h2head.TraceID, Val: val})
		case h2head.Source:
			if ap, err := netip.ParseAddrPort(val); err == nil && !ap.Addr().IsUnspecified() {
				r.req.Metadata = append(r.req.Metadata, stream.Pair{Key: stream.KeyClient, Val: val})
			}
		case "sec-websocket-key":
			r.key = val
		}
	}
}

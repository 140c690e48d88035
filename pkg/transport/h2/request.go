package h2

import (
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// localURL is the host of a request without one (spec/wire.md 9.4).
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

// toRequest turns the head of an HTTP/2 request into a ConnectRequest. ended says that no body follows.
func (n *names) toRequest(head []mux.Field, ended bool, req *stream.Request) asked {
	a := asked{kind: kindOf(head)}
	req.Metadata = append(req.Metadata[:0], stream.Pair{}, stream.Pair{}) // method and host come first
	var (
		p      pseudo
		sized  bool
		cookie = -1
	)
	accept := stream.AcceptFrames
	for i := range head {
		name, val := head[i].Name, head[i].Value
		switch name {
		case ":method":
			p.method = val
		case ":scheme":
			p.scheme = val
		case ":authority":
			p.authority = val
		case ":path":
			p.path = val
		case "host":
			p.host = val
		case acceptHeader:
			a.details = true
			if stream.Accepts(val, stream.AcceptInterim) {
				a.interim = true
				accept += "," + stream.AcceptInterim
			}
		case bodyHeader:
			a.framed = a.framed || val == stream.BodyFrames
		case "cookie": // HTTP/2 may split it
			if cookie >= 0 {
				req.Metadata[cookie].Val += "; " + val
				continue
			}
			cookie = len(req.Metadata)
			req.Metadata = append(req.Metadata, stream.Pair{Key: n.key(name), Val: val})
		default:
			if ofOneHop(name) || strings.HasPrefix(name, ":") {
				continue
			}
			sized = sized || name == "content-length"
			a.framed = a.framed || name == "trailer"
			req.Metadata = append(req.Metadata, stream.Pair{Key: n.key(name), Val: val})
		}
	}
	if p.authority == "" {
		p.authority = p.host
	}
	if a.kind == h2head.TCP {
		n.toTCP(head, p, req, &a)
		return a
	}
	p.fill(req, a.kind)
	a.head = p.method == "HEAD"
	a.framed = a.framed && a.kind == h2head.HTTP && !ended
	if a.kind == h2head.HTTP {
		if !sized && !ended || a.framed {
			req.Metadata = append(req.Metadata, stream.Pair{Key: n.key("transfer-encoding"), Val: "chunked"})
		}
		if a.framed {
			req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
		}
		req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: accept})
	}
	return a
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
func (n *names) toTCP(head []mux.Field, p pseudo, req *stream.Request, a *asked) {
	req.Type, req.Dest, req.Metadata = stream.TCP, p.authority, req.Metadata[:0]
	a.framed = false
	for i := range head {
		switch head[i].Name {
		case h2head.TraceID:
			req.Metadata = append(req.Metadata, stream.Pair{Key: h2head.TraceID, Val: head[i].Value})
		case h2head.Source:
			if ap, err := netip.ParseAddrPort(head[i].Value); err == nil && !ap.Addr().IsUnspecified() {
				req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyClient, Val: head[i].Value})
			}
		case "sec-websocket-key":
			a.key = head[i].Value
		}
	}
}

// wanted is what the edge keeps of a ConnectRequest for its answer.
type wanted struct {
	kind h2head.Kind
	// frames and interim are what the answer may have.
	frames, interim bool
	// framed says that the body is framed and is to become DATA and trailers.
	framed bool
	// length of the body: 0 without one, unknown when FIN ends it.
	length int64
}

// unknown is the length of a body that ends by FIN.
const unknown = -1

// unnamedSource is the source of a TCP request whose visitor is not known; it must not be empty.
const unnamedSource = "0.0.0.0:0"

// fromRequest turns a ConnectRequest into the head of an HTTP/2 request.
func (n *names) fromRequest(req *stream.Request, fields []mux.Field) ([]mux.Field, wanted) {
	if req.Type == stream.TCP {
		return n.fromTCP(req, fields)
	}
	w := wanted{length: 0}
	scheme, host, path := splitDest(req.Dest)
	method := "GET"
	authority := host
	for i := range req.Metadata {
		switch p := &req.Metadata[i]; p.Key {
		case stream.KeyMethod:
			method = first(p.Val, "GET")
		case stream.KeyHost:
			authority = p.Val
		}
	}
	if req.Type == stream.WebSocket {
		w.kind, w.length = h2head.WebSocket, unknown
	}
	fields = append(fields,
		mux.Field{Name: ":method", Value: method}, mux.Field{Name: ":scheme", Value: scheme},
		mux.Field{Name: ":authority", Value: first(authority, host)}, mux.Field{Name: ":path", Value: path})
	announced := false
	for i := range req.Metadata {
		p := &req.Metadata[i]
		name, ok := n.name(p.Key)
		switch {
		case !ok:
			w.note(p)
			continue
		case name == "transfer-encoding" && strings.Contains(strings.ToLower(p.Val), "chunked"):
			w.length = unknown
			continue
		case ofOneHop(name), !isValue(p.Val), name == "te" && p.Val != "trailers":
			continue
		case name == "content-length" && w.length != unknown:
			w.length = parseLength(p.Val)
		case name == "trailer":
			announced = true
		}
		fields = append(fields, mux.Field{Name: name, Value: p.Val, Sensitive: passing(name)})
	}
	if w.kind == h2head.WebSocket {
		fields = append(fields, mux.Field{Name: h2head.Upgrade, Value: h2head.UpgradeWebSocket})
		w.framed, w.length = false, unknown
	}
	if w.framed && !announced {
		fields = append(fields, mux.Field{Name: bodyHeader, Value: stream.BodyFrames})
	}
	if w.framed {
		w.length = unknown
	}
	if w.interim {
		fields = append(fields, mux.Field{Name: acceptHeader, Value: stream.AcceptInterim})
	}
	if w.length == unknown {
		fields = dropLength(fields)
	}
	return fields, w
}

// note takes in metadata that is no header.
func (w *wanted) note(p *stream.Pair) {
	switch p.Key {
	case stream.KeyAccept:
		w.frames = stream.Accepts(p.Val, stream.AcceptFrames)
		w.interim = stream.Accepts(p.Val, stream.AcceptInterim)
	case stream.KeyBody:
		w.framed = p.Val == stream.BodyFrames
	}
}

func (n *names) fromTCP(req *stream.Request, fields []mux.Field) ([]mux.Field, wanted) {
	source, trace := unnamedSource, ""
	for i := range req.Metadata {
		switch p := &req.Metadata[i]; p.Key {
		case stream.KeyClient:
			if _, err := netip.ParseAddrPort(p.Val); err == nil {
				source = p.Val
			}
		case h2head.TraceID:
			trace = p.Val
		}
	}
	fields = append(fields,
		mux.Field{Name: ":method", Value: "GET"}, mux.Field{Name: ":scheme", Value: "http"},
		mux.Field{Name: ":authority", Value: req.Dest}, mux.Field{Name: ":path", Value: "/"},
		mux.Field{Name: h2head.Source, Value: source, Sensitive: true})
	if trace != "" && isValue(trace) {
		fields = append(fields, mux.Field{Name: h2head.TraceID, Value: trace, Sensitive: true})
	}
	return fields, wanted{kind: h2head.TCP, length: unknown}
}

// passing names headers whose values hardly come twice: they stay out of the compression tables.
func passing(name string) bool {
	switch name {
	case "content-length", "cf-ray", "if-none-match", "if-modified-since", "range", "sec-websocket-key", "traceparent", "authorization":
		return true
	}
	return false
}

func parseLength(s string) int64 {
	n := int64(0)
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' || n > 1<<59 {
			return unknown
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// dropLength removes a length that a body of unknown length must not have.
func dropLength(fields []mux.Field) []mux.Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Name != "content-length" {
			kept = append(kept, f)
		}
	}
	return kept
}

// splitDest splits a URL as it is, without interpreting it.
func splitDest(dest string) (scheme, host, path string) {
	scheme, rest, ok := strings.Cut(dest, "://")
	if !ok {
		return "http", "", first(dest, "/")
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	} else {
		host = rest
	}
	path, _, _ = strings.Cut(path, "#")
	if strings.HasSuffix(host, "*") && path == "" { // OPTIONS of the server as a whole
		return scheme, strings.TrimSuffix(host, "*"), "*"
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme, host, path
}

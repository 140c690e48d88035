package h2

import (
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

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

// requestWriter collects the fields of a request.
type requestWriter struct {
	n *names
	wanted
	fields    []mux.Field
	announced bool // trailers are announced by a header
}

// fromRequest turns a ConnectRequest into the head of an HTTP/2 request.
func (n *names) fromRequest(req *stream.Request, fields []mux.Field) ([]mux.Field, wanted) {
	if req.Type == stream.TCP {
		return n.fromTCP(req, fields)
	}
	w := requestWriter{n: n, fields: fields}
	if req.Type == stream.WebSocket {
		w.kind, w.length = h2head.WebSocket, unknown
	}
	w.place(req)
	for i := range req.Metadata {
		w.metadata(&req.Metadata[i])
	}
	if w.kind == h2head.WebSocket {
		w.add(h2head.Upgrade, h2head.UpgradeWebSocket)
		w.framed = false
	}
	if w.framed {
		w.length = unknown
		if !w.announced {
			w.add(bodyHeader, stream.BodyFrames)
		}
	}
	if w.interim {
		w.add(acceptHeader, stream.AcceptInterim)
	}
	if w.length == unknown {
		w.fields = dropLength(w.fields)
	}
	return w.fields, w.wanted
}

func (w *requestWriter) add(name, val string) {
	w.fields = append(w.fields, mux.Field{Name: name, Value: val, Sensitive: passing(name)})
}

// place says where the request goes.
func (w *requestWriter) place(req *stream.Request) {
	scheme, host, path := splitDest(req.Dest)
	method, _ := stream.Lookup(req.Metadata, stream.KeyMethod)
	authority, _ := stream.Lookup(req.Metadata, stream.KeyHost)
	w.add(":method", first(method, "GET"))
	w.add(":scheme", scheme)
	w.add(":authority", first(authority, host))
	w.add(":path", path)
}

// metadata takes in one entry.
func (w *requestWriter) metadata(p *stream.Pair) {
	name, ok := w.n.name(p.Key)
	if !ok {
		w.note(p)
		return
	}
	switch name {
	case "transfer-encoding":
		if strings.Contains(strings.ToLower(p.Val), "chunked") {
			w.length = unknown
		}
		return
	case "te":
		if p.Val != "trailers" {
			return
		}
	case "content-length":
		if w.length != unknown {
			w.length = parseLength(p.Val)
		}
	case "trailer":
		w.announced = true
	}
	if !ofOneHop(name) && isValue(p.Val) {
		w.add(name, p.Val)
	}
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

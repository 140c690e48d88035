package h2head

import (
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Sent is what an edge has to remember of a request in order to send its body and to read its response.
type Sent struct {
	Kind Kind
	// Interim says that the requester accepts interim responses.
	Interim bool
	// Framed says that the body comes as frames of the stream form and goes on the wire as DATA and trailers.
	Framed bool
	// Length of the body: 0 without one, Unknown when FIN ends it.
	Length int64

	frames bool // the requester accepts a framed response body
}

// Unknown is the length of a body that ends by FIN.
const Unknown = -1

// unspecifiedSource is the Source of a TCP request whose visitor is not known. It must not be empty: its presence is what
// makes the request a TCP request.
const unspecifiedSource = "0.0.0.0:0"

// requestEncoder collects the fields of a request.
type requestEncoder struct {
	Sent
	fields    []httpfield.Field
	announced bool // a Trailer field announces trailers
}

// EncodeRequest appends the header of an HTTP/2 request for a ConnectRequest to fields.
func EncodeRequest(fields []httpfield.Field, req *stream.Request) ([]httpfield.Field, Sent) {
	if req.Type == stream.TCP {
		return encodeTCP(fields, req)
	}
	e := requestEncoder{fields: fields}
	if req.Type == stream.WebSocket {
		e.Kind, e.Length = WebSocket, Unknown
	}
	e.addTarget(req)
	for i := range req.Metadata {
		e.addMetadata(&req.Metadata[i])
	}
	if e.Kind == WebSocket {
		e.add(Upgrade, UpgradeWebSocket)
		if val, ok := stream.Lookup(req.Metadata, stream.KeyUpgrade); ok && httpfield.IsValue(val) {
			e.add(upgradeField, val)
		}
		e.Framed = false
	}
	if e.Framed {
		e.Length = Unknown
		if !e.announced {
			e.add(bodyField, stream.BodyFrames)
		}
	}
	if val, ok := stream.Lookup(req.Metadata, stream.KeyManagement); ok && httpfield.IsValue(val) {
		e.add(managementField, val)
	}
	if e.Interim {
		e.add(acceptField, stream.AcceptInterim)
	}
	if e.Length == Unknown {
		e.fields = dropLength(e.fields)
	}
	return e.fields, e.Sent
}

func (e *requestEncoder) add(name, val string) {
	e.fields = append(e.fields, httpfield.Field{Name: name, Value: val, Sensitive: rarelyRepeats(name)})
}

// addTarget adds the pseudo-headers.
func (e *requestEncoder) addTarget(req *stream.Request) {
	scheme, host, path := splitDest(req.Dest)
	method, _ := stream.Lookup(req.Metadata, stream.KeyMethod)
	authority, _ := stream.Lookup(req.Metadata, stream.KeyHost)
	e.add(":method", first(method, "GET"))
	e.add(":scheme", scheme)
	e.add(":authority", first(authority, host))
	e.add(":path", path)
}

// addMetadata handles one entry of the metadata.
func (e *requestEncoder) addMetadata(p *stream.Pair) {
	name, ok := stream.LowerHeaderName(p.Key)
	if !ok {
		e.note(p)
		return
	}
	switch name {
	case "transfer-encoding":
		if strings.Contains(httpfield.Lower(p.Val), "chunked") {
			e.Length = Unknown
		}
		return
	case "te":
		if p.Val != "trailers" { // the only value that HTTP/2 allows
			return
		}
	case "content-length":
		if e.Length != Unknown {
			e.Length = parseLength(p.Val)
		}
	case "trailer":
		e.announced = true
	}
	if !staysOffWire(name) && httpfield.IsValue(p.Val) {
		e.add(name, p.Val)
	}
}

// note keeps metadata that is not a header.
func (s *Sent) note(p *stream.Pair) {
	switch p.Key {
	case stream.KeyAccept:
		s.frames = stream.Accepts(p.Val, stream.AcceptFrames)
		s.Interim = stream.Accepts(p.Val, stream.AcceptInterim)
	case stream.KeyBody:
		s.Framed = p.Val == stream.BodyFrames
	}
}

func encodeTCP(fields []httpfield.Field, req *stream.Request) ([]httpfield.Field, Sent) {
	source, trace := unspecifiedSource, ""
	for i := range req.Metadata {
		switch p := &req.Metadata[i]; p.Key {
		case stream.KeyClient:
			if _, err := netip.ParseAddrPort(p.Val); err == nil {
				source = p.Val
			}
		case TraceID:
			trace = p.Val
		}
	}
	fields = append(fields,
		httpfield.Field{Name: ":method", Value: "GET"}, httpfield.Field{Name: ":scheme", Value: "http"},
		httpfield.Field{Name: ":authority", Value: req.Dest}, httpfield.Field{Name: ":path", Value: "/"},
		httpfield.Field{Name: Source, Value: source, Sensitive: true})
	if trace != "" && httpfield.IsValue(trace) {
		fields = append(fields, httpfield.Field{Name: TraceID, Value: trace, Sensitive: true})
	}
	return fields, Sent{Kind: TCP, Length: Unknown}
}

// rarelyRepeats names fields whose values hardly ever repeat. They stay out of the compression tables, where they would
// only displace others.
func rarelyRepeats(name string) bool {
	switch name {
	case "content-length", "cf-ray", "if-none-match", "if-modified-since", "range", "sec-websocket-key", "traceparent", "authorization":
		return true
	}
	return false
}

// parseLength gives the value of a Content-Length, Unknown for a malformed one.
func parseLength(s string) int64 {
	if n, ok := httpfield.ParseLength(s); ok {
		return n
	}
	return Unknown
}

// dropLength removes a Content-Length, which a body of unknown length must not have.
func dropLength(fields []httpfield.Field) []httpfield.Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Name != "content-length" {
			kept = append(kept, f)
		}
	}
	return kept
}

// splitDest splits a URL without decoding any part of it. A missing path becomes "/".
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
	if strings.HasSuffix(host, "*") && path == "" { // OPTIONS for the whole server
		return scheme, strings.TrimSuffix(host, "*"), "*"
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return scheme, host, path
}

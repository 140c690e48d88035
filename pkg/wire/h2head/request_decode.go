package h2head

import (
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// defaultHost is the host of a request that names none (docs/spec/wire.md 9.4).
const defaultHost = "localhost:8080"

// Received is what a connector has to remember of a request in order to write its response.
type Received struct {
	Kind Kind
	// Framed says that the body must be turned into frames of the stream form, since trailers may follow it.
	Framed bool
	// Interim says that the edge accepts interim responses.
	Interim bool

	webSocketKey string // Sec-WebSocket-Key of a TCP request
	details      bool   // the edge accepts status and text of an error
	head         bool   // the method is HEAD
}

// target are the fields that say where a request goes.
type target struct{ method, scheme, authority, path, host string }

// requestDecoder collects what a header says.
type requestDecoder struct {
	target
	Received
	req      *stream.Request
	accept   string
	hasSize  bool     // Content-Length is present
	cookieAt int      // index of the first cookie in req.Metadata; 0 without one
	cookies  []string // the cookies after the first one
}

// DecodeRequest turns the header of an HTTP/2 request into a ConnectRequest; req.Metadata's array is reused. ended says that neither body
// nor trailers follow.
func DecodeRequest(header []httpfield.Field, ended bool, req *stream.Request) Received {
	d := requestDecoder{req: req, accept: stream.AcceptFrames}
	d.Kind = KindOf(header)
	req.Metadata = append(req.Metadata[:0], stream.Pair{}, stream.Pair{}) // method and host come first
	for i := range header {
		if !d.setTarget(header[i].Name, header[i].Value) {
			d.addField(header[i].Name, header[i].Value)
		}
	}
	if len(d.cookies) > 0 {
		req.Metadata[d.cookieAt].Val += "; " + strings.Join(d.cookies, "; ")
	}
	d.authority = first(d.authority, d.host)
	d.head = d.method == "HEAD"
	if d.Kind == TCP {
		d.decodeTCP(header)
		return d.Received
	}
	d.fill(req, d.Kind)
	d.Framed = d.Framed && d.Kind == HTTP && !ended
	if d.Kind != HTTP {
		return d.Received
	}
	if !d.hasSize && !ended || d.Framed {
		req.Metadata = append(req.Metadata, stream.Pair{Key: stream.HeaderKey("transfer-encoding"), Val: "chunked"})
	}
	if d.Framed {
		req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
	}
	req.Metadata = append(req.Metadata, stream.Pair{Key: stream.KeyAccept, Val: d.accept})
	return d.Received
}

// setTarget reports whether a field says where the request goes, and keeps it.
func (d *requestDecoder) setTarget(name, val string) bool {
	switch name {
	case ":method":
		d.method = val
	case ":scheme":
		d.scheme = val
	case ":authority":
		d.authority = val
	case ":path":
		d.path = val
	case "host":
		d.host = val
	default:
		return strings.HasPrefix(name, ":")
	}
	return true
}

// addField handles any other field.
func (d *requestDecoder) addField(name, val string) {
	switch name {
	case acceptField:
		d.details = true
		if stream.Accepts(val, stream.AcceptInterim) {
			d.Interim = true
			d.accept += "," + stream.AcceptInterim
		}
		return
	case upgradeField:
		if d.Kind == WebSocket {
			d.req.Metadata = append(d.req.Metadata, stream.Pair{Key: stream.KeyUpgrade, Val: val})
		}
		return
	case managementField:
		d.req.Metadata = append(d.req.Metadata, stream.Pair{Key: stream.KeyManagement, Val: val})
		return
	case bodyField:
		d.Framed = d.Framed || val == stream.BodyFrames
		return
	case "cookie": // HTTP/2 may split it (RFC 9113 8.2.3)
		if d.cookieAt > 0 {
			d.cookies = append(d.cookies, val)
			return
		}
		d.cookieAt = len(d.req.Metadata)
	case "content-length":
		d.hasSize = true
	case "trailer":
		d.Framed = true
	}
	if !staysOffWire(name) {
		d.req.Metadata = append(d.req.Metadata, stream.Pair{Key: stream.HeaderKey(name), Val: val})
	}
}

// fill sets destination, type, method and host.
func (t *target) fill(req *stream.Request, kind Kind) {
	req.Type = stream.HTTP
	if kind == WebSocket {
		req.Type = stream.WebSocket
	}
	path := t.path
	if path != "*" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req.Dest = first(t.scheme, "http") + "://" + first(t.authority, defaultHost) + path
	req.Metadata[0] = stream.Pair{Key: stream.KeyMethod, Val: t.method}
	req.Metadata[1] = stream.Pair{Key: stream.KeyHost, Val: t.authority}
}

// decodeTCP makes a TCP request. The destination is the authority; of the other fields only those for tracing and for the
// visitor's address have a meaning.
func (d *requestDecoder) decodeTCP(header []httpfield.Field) {
	d.req.Type, d.req.Dest, d.req.Metadata = stream.TCP, d.authority, d.req.Metadata[:0]
	d.Framed, d.head = false, false
	for i := range header {
		val := header[i].Value
		switch header[i].Name {
		case TraceID:
			d.req.Metadata = append(d.req.Metadata, stream.Pair{Key: TraceID, Val: val})
		case Source:
			if ap, err := netip.ParseAddrPort(val); err == nil && !ap.Addr().IsUnspecified() {
				d.req.Metadata = append(d.req.Metadata, stream.Pair{Key: stream.KeyClient, Val: val})
			}
		case "sec-websocket-key":
			d.webSocketKey = val
		}
	}
}

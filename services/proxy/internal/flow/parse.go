package flow

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// unknownLength is the length of a body that ends by FIN.
const unknownLength = -1

// parsed is an HTTP request as the edge described it, checked and cleaned.
type parsed struct {
	method string
	host   string // as received, perhaps empty
	path   string // percent-decoded
	raw    string // the path with what is illegal on the wire escaped, otherwise as received
	query  string
	asks   bool // there is a "?", perhaps with nothing after it
	header http.Header
	// length of the body: 0 without one, unknownLength when it ends by FIN.
	length int64

	// What the edge can take in the response, and how it lays out the body (docs/extensions.md).
	takesFrames, takesInterim, framed bool

	// upgrade is the value of Upgrade for another protocol than WebSocket (docs/extensions.md).
	upgrade string

	// maxTarget bounds the path and the query together, in bytes; 0 is no limit.
	maxTarget int

	lengthSet, chunked, hasAgent bool
	connection                   []string // values of Connection
	trailers                     []string // values of Trailer
	expects                      bool     // Expect: 100-continue
}

// parse fills p from a request of type HTTP. Headers that the origin must not see are not in p.header. A header section
// beyond the limits is errFields.
func (p *parsed) parse(r *stream.Request, limits httpfield.Limits) error {
	p.method = http.MethodGet
	p.header = make(http.Header, min(len(r.Metadata), limits.MaxFields)+4)
	meter := limits.Meter()
	values := make([]string, 0, min(len(r.Metadata), limits.MaxFields))
	for i := range r.Metadata {
		pair := &r.Metadata[i]
		switch pair.Key {
		case stream.KeyMethod:
			p.method = pair.Val
		case stream.KeyHost:
			p.host = pair.Val
		case stream.KeyAccept:
			p.takesFrames = stream.Accepts(pair.Val, stream.AcceptFrames)
			p.takesInterim = stream.Accepts(pair.Val, stream.AcceptInterim)
		case stream.KeyBody, stream.KeyUpgrade:
			if err := p.extend(pair); err != nil {
				return err
			}
		default:
			name, ok, err := headerName(pair.Key)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if meter.Add(len(name), len(pair.Val)) != nil {
				return errFields
			}
			if values, err = p.addHeader(name, pair.Val, values); err != nil {
				return err
			}
		}
	}
	if p.method == "" {
		p.method = http.MethodGet
	}
	if !httpfield.IsToken(p.method) || p.method == http.MethodConnect {
		return badRequest("method is not one that can be forwarded")
	}
	if !httpfield.IsValue(p.host) {
		return badRequest("host is malformed")
	}
	p.settleLength()
	dropNamed(p.header, p.connection)
	return p.parseDest(r.Dest)
}

// extend takes in metadata of our own edge that a request cannot be served without (docs/extensions.md).
func (p *parsed) extend(pair *stream.Pair) error {
	if pair.Key == stream.KeyBody {
		if p.framed = pair.Val == stream.BodyFrames; !p.framed {
			return badRequest("body layout is unknown")
		}
		return nil
	}
	if pair.Val == "" || !httpfield.IsValue(pair.Val) {
		return badRequest("upgrade is malformed")
	}
	p.upgrade = pair.Val
	return nil
}

// isSafe reports whether the request has a safe method (RFC 9110 9.2.1) and no body. rest is what follows the head.
func (p *parsed) isSafe(rest []byte) bool {
	switch p.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return p.length == 0 && len(rest) == 0
	default:
		return false
	}
}

// headerName takes the header's name out of a metadata key. A key that contains the marker anywhere is a header
// (docs/spec/wire.md 5.3).
func headerName(key string) (name string, ok bool, err error) {
	if !strings.Contains(key, "HttpHeader") {
		return "", false, nil
	}
	_, name, ok = strings.Cut(key, ":")
	if !ok || strings.IndexByte(name, ':') >= 0 {
		return "", false, badRequest(fmt.Sprintf("header Key: %s malformed", key))
	}
	return name, true, nil
}

// addHeader takes in one header line. Values of all headers share the array of values.
func (p *parsed) addHeader(name, value string, values []string) ([]string, error) {
	if !httpfield.IsToken(name) {
		return values, badRequest("header name is malformed")
	}
	if !httpfield.IsValue(value) {
		return values, badRequest("header value is malformed: " + name)
	}
	name = httpfield.Canonical(name)
	switch requestRule(name) {
	case dropHeader:
		return values, nil
	case bodyHeader:
		return values, p.setFraming(name, value)
	case connectionHeader:
		p.connection = append(p.connection, value)
		return values, nil
	case teHeader:
		if !httpfield.HasToken(value, "trailers") {
			return values, nil
		}
		value = "trailers"
	case agentHeader:
		p.hasAgent = true
	case trailerHeader:
		p.trailers = append(p.trailers, value)
		return values, nil
	case passHeader:
		if name == "Expect" {
			p.expects = httpfield.HasToken(value, "100-continue")
		}
	}
	if have, ok := p.header[name]; ok {
		p.header[name] = append(have, value)
		return values, nil
	}
	values = append(values, value)
	n := len(values)
	p.header[name] = values[n-1 : n : n]
	return values, nil
}

// setFraming reads Content-Length and Transfer-Encoding, which say where the body ends. They are written anew for the origin.
func (p *parsed) setFraming(name, value string) error {
	if name == "Transfer-Encoding" {
		p.chunked = p.chunked || strings.Contains(strings.ToLower(value), "chunked")
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return badRequest("Error setting content-length: " + err.Error())
	}
	if p.lengthSet && n != p.length {
		return badRequest("Error setting content-length: different values")
	}
	p.lengthSet, p.length = true, n
	return nil
}

// settleLength applies the length rules of docs/spec/wire.md 5.3.
func (p *parsed) settleLength() {
	if p.framed || p.length < 0 || p.length == 0 && p.chunked {
		p.length = unknownLength
	}
}

// parseDest splits the URL: no fragment, dot segments and escapes as they are (docs/spec/ingress.md 7.1).
func (p *parsed) parseDest(dest string) error {
	rest := dest
	if i := strings.Index(dest, "://"); i >= 0 {
		rest = dest[i+3:]
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		authority := rest[:end]
		if strings.HasPrefix(authority, "[") && !strings.Contains(authority, "]") {
			return badRequest("destination is malformed: missing ']' in host")
		}
		rest = rest[end:]
		if rest == "" && p.method == http.MethodOptions && strings.HasSuffix(authority, "*") {
			rest = "*"
		}
	} else if dest != "" && dest[0] != '/' {
		return badRequest("destination is not a URL")
	}
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		rest = rest[:i]
	}
	if p.maxTarget > 0 && len(rest) > p.maxTarget {
		return errTarget // rules match paths with regular expressions, whose cost grows with the length
	}
	raw, query, asks := strings.Cut(rest, "?")
	if hasControl(rest) {
		return badRequest("destination holds a control character")
	}
	p.raw, p.asks = escape(raw, &legalInPath), asks
	p.query = escape(query, &legalInQuery)
	if strings.IndexByte(p.raw, '%') < 0 {
		p.path = p.raw
		return nil
	}
	path, err := url.PathUnescape(p.raw)
	if err != nil {
		return badRequest("destination is malformed: " + err.Error())
	}
	p.path = path
	return nil
}

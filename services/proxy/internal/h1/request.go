package h1

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

// keepHead is the largest head whose buffer waits for the next request.
const keepHead = 32 << 10

const userAgent = "User-Agent"

// bodyKind says how a request's body is framed.
type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodySized
	bodyChunked
)

// outgoing is a request as it goes on the wire.
type outgoing struct {
	buf  []byte
	keys []string
	body bodyKind
}

// outgoings keeps buffers between requests.
type outgoings struct{ pool sync.Pool }

func (p *outgoings) take() *outgoing {
	if o, ok := p.pool.Get().(*outgoing); ok {
		return o
	}
	return &outgoing{buf: make([]byte, 0, 1<<10)}
}

func (p *outgoings) put(o *outgoing) {
	if cap(o.buf) > keepHead {
		return
	}
	clear(o.keys)
	o.buf, o.keys = o.buf[:0], o.keys[:0]
	p.pool.Put(o)
}

// encode writes the head of a request to the buffer. It reports false for a request that is not for this package: an
// unusual one, or one that cannot be written without doubt about what the origin will read. A User-Agent that is not there
// is not made up.
func (o *outgoing) encode(req *http.Request) bool {
	if !o.setBody(req) || !o.appendLine(req) {
		return false
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if !hostBytes.holds(host) {
		return false
	}
	o.appendField("Host", host)
	if v := req.Header[userAgent]; len(v) > 0 && v[0] != "" {
		if !httpfield.IsValue(v[0]) {
			return false
		}
		o.appendField(userAgent, v[0])
	}
	o.appendFraming(req)
	if !o.appendHeaders(req.Header) {
		return false
	}
	o.buf = append(o.buf, '\r', '\n')
	return true
}

// setBody decides the body's framing (docs/spec/ingress.md 7.3).
func (o *outgoing) setBody(req *http.Request) bool {
	o.body = bodyNone
	none := req.Body == nil || req.Body == http.NoBody
	switch {
	case len(req.TransferEncoding) > 0:
		return false
	case none:
		return req.ContentLength <= 0
	case req.ContentLength > 0:
		o.body = bodySized
		return true
	case usuallyBodiless(req.Method):
		return false // net/http looks whether there is a body at all
	}
	o.body = bodyChunked
	for name := range req.Trailer {
		if !httpfield.IsToken(name) || h1codec.FramesBody(httpfield.Canonical(name)) {
			return false
		}
	}
	return true
}

// usuallyBodiless reports whether servers do not expect a body with the method.
func usuallyBodiless(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, "PROPFIND", "SEARCH":
		return true
	}
	return false
}

// appendLine writes the request line.
func (o *outgoing) appendLine(req *http.Request) bool {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if method == http.MethodConnect || !httpfield.IsToken(method) {
		return false
	}
	o.buf = append(append(o.buf, method...), ' ')
	if !o.appendTarget(req.URL) {
		return false
	}
	o.buf = append(o.buf, " HTTP/1.1\r\n"...)
	return true
}

func (o *outgoing) appendTarget(u *url.URL) bool {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.Opaque != "" || path[0] != '/' && path != "*" || !httpfield.IsTarget(path) || u.RawQuery != "" && !httpfield.IsTarget(u.RawQuery) {
		return false
	}
	o.buf = append(o.buf, path...)
	if u.ForceQuery || u.RawQuery != "" {
		o.buf = append(append(o.buf, '?'), u.RawQuery...)
	}
	return true
}

// appendHeaders writes what is left of the header, in the order of names, so that equal requests look equal.
func (o *outgoing) appendHeaders(header http.Header) bool {
	for name := range header {
		o.keys = append(o.keys, name)
	}
	slices.Sort(o.keys)
	for _, name := range o.keys {
		values := header[name]
		if !httpfield.IsToken(name) {
			return false
		}
		switch ruleOf(name) {
		case refuseField:
			return false
		case skipField:
			continue
		case closeField:
			if !isKeepAlive(values) {
				return false
			}
		case writeField:
		}
		for _, v := range values {
			if !httpfield.IsValue(v) {
				return false
			}
			o.appendField(name, v)
		}
	}
	return true
}

func (o *outgoing) appendField(name, value string) {
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, ':', ' ')
	o.buf = append(o.buf, textproto.TrimString(value)...)
	o.buf = append(o.buf, '\r', '\n')
}

// fieldRule says what becomes of a header field of a request.
type fieldRule uint8

const (
	writeField  fieldRule = iota
	skipField             // written anew, from the request's other members
	refuseField           // makes the request one for the fallback
	closeField            // fine if it keeps the connection alive
)

// ruleOf judges a name in any letter case, as the origin will read it in any case.
func ruleOf(name string) fieldRule {
	switch len(name) {
	case len("Host"):
		return foldRule(name, "Host", skipField)
	case len("Expect"):
		return foldRule(name, "Expect", refuseField)
	case len("Upgrade"): // and Trailer
		if strings.EqualFold(name, "Trailer") {
			return skipField
		}
		return foldRule(name, "Upgrade", refuseField)
	case len("Connection"): // and User-Agent
		if name == userAgent {
			return skipField
		}
		return foldRule(name, "Connection", closeField)
	case len("Content-Length"):
		return foldRule(name, "Content-Length", skipField)
	case len("Transfer-Encoding"):
		return foldRule(name, "Transfer-Encoding", skipField)
	}
	return writeField
}

func foldRule(name, special string, rule fieldRule) fieldRule {
	if strings.EqualFold(name, special) {
		return rule
	}
	return writeField
}

// isKeepAlive reports whether Connection asks for nothing special.
func isKeepAlive(values []string) bool {
	for _, v := range values {
		if !strings.EqualFold(v, "keep-alive") {
			return false
		}
	}
	return true
}

// appendFraming writes the fields that describe the body.
func (o *outgoing) appendFraming(req *http.Request) {
	switch o.body {
	case bodySized:
		o.buf = append(o.buf, "Content-Length: "...)
		o.buf = strconv.AppendInt(o.buf, req.ContentLength, 10)
		o.buf = append(o.buf, '\r', '\n')
	case bodyNone:
		switch req.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			o.buf = append(o.buf, "Content-Length: 0\r\n"...)
		}
	case bodyChunked:
		o.buf = append(o.buf, "Transfer-Encoding: chunked\r\n"...)
		if len(req.Trailer) > 0 {
			names := make([]string, 0, len(req.Trailer))
			for name := range req.Trailer {
				names = append(names, httpfield.Canonical(name))
			}
			slices.Sort(names)
			o.appendField("Trailer", strings.Join(names, ","))
		}
	}
}

// isReplayable reports whether a request may be sent again although the origin may have seen it (docs/spec/ingress.md 7.4).
func isReplayable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := req.Header["Idempotency-Key"]
	_, xkey := req.Header["X-Idempotency-Key"]
	return key || xkey
}

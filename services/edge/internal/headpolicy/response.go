package headpolicy

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// ErrResponse says that metadata is not the head of a response.
var ErrResponse = errors.New("malformed response")

// Response is the head of a connector's response, apart from its header fields.
type Response struct {
	// Status is between 100 and 999.
	Status int
	// Length is the declared length of the body, or -1.
	Length int64
}

// ParseResponse copies the header fields of a response's metadata that may reach a visitor into h. It fails with
// ErrResponse, or with an error of httpfield.Limits.
func ParseResponse(h map[string][]string, md []stream.Pair, limits httpfield.Limits) (Response, error) {
	r := Response{Length: -1}
	values := make([]string, 0, len(md))
	meter := limits.Meter()
	for i := range md {
		p := &md[i]
		if p.Key == stream.KeyStatus && !r.setStatus(p.Val) {
			return r, fmt.Errorf("%w: status %q", ErrResponse, p.Val)
		}
		name, ok := stream.HeaderName(p.Key)
		if !ok {
			continue
		}
		if err := meter.Add(len(name), len(p.Val)); err != nil {
			return r, fmt.Errorf("response: %w", err)
		}
		if name == ContentLength && !r.setLength(p.Val) {
			return r, fmt.Errorf("%w: Content-Length %q", ErrResponse, p.Val)
		}
		if DropsFromResponse(name) || !httpfield.IsValue(p.Val) {
			continue
		}
		if have, ok := h[name]; ok {
			if name != ContentLength {
				h[name] = append(have, p.Val)
			}
			continue
		}
		values = append(values, p.Val)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	dropNamed(h, Values(md, Connection))
	if len(Values(md, TransferCoding)) > 0 { // chunked wins over a length (docs/spec/ingress.md 7.7)
		delete(h, ContentLength)
		r.Length = -1
	}
	if r.Status < 100 || r.Status > 999 {
		return r, fmt.Errorf("%w: status %d", ErrResponse, r.Status)
	}
	return r, nil
}

// dropNamed removes the fields that Connection names.
func dropNamed(h map[string][]string, connection []string) {
	if len(connection) == 0 {
		return
	}
	for name := range h {
		if httpfield.IsNamed(connection, name) {
			delete(h, name)
		}
	}
}

// setStatus reports whether val is a number.
func (r *Response) setStatus(val string) bool {
	n, err := strconv.Atoi(val)
	if err != nil {
		return false
	}
	r.Status = n
	return true
}

// setLength reports whether val is a length and equals an earlier one.
func (r *Response) setLength(val string) bool {
	n, ok := httpfield.ParseLength(httpfield.TrimOWS(val))
	if !ok || (r.Length >= 0 && r.Length != n) {
		return false
	}
	r.Length = n
	return true
}

// Values gives the values of a header field by its canonical name.
func Values(md []stream.Pair, name string) []string {
	var out []string
	for i := range md {
		if stream.IsHeader(md[i].Key, name) {
			out = append(out, md[i].Val)
		}
	}
	return out
}

// MayHaveBody reports whether a response with this status to a request with this method can have a body (RFC 9110 6.4.1).
func MayHaveBody(method string, status int) bool {
	return method != "HEAD" && status != 204 && status != 304
}

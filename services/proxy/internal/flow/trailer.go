package flow

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// announced gives the names in the values of Trailer, as keys without values; nil without any.
func announced(values []string) http.Header {
	var names http.Header
	for _, v := range values {
		for name := range httpfield.Items(v) {
			if !httpfield.IsTrailer(name) {
				continue
			}
			name = httpfield.Canonical(name)
			if names == nil {
				names = make(http.Header)
			}
			names[name] = nil
		}
	}
	return names
}

// fillTrailer puts the trailers that came behind a request's body where the origin's client looks for them, now that it
// has read the body. Only announced ones are sent: the others find no place on every protocol.
func fillTrailer(into http.Header, from []stream.Pair, limits httpfield.Limits) error {
	meter := limits.Meter()
	for _, p := range from {
		if meter.Add(len(p.Key), len(p.Val)) != nil {
			return errFields
		}
		if !httpfield.IsToken(p.Key) || !httpfield.IsValue(p.Val) {
			return badRequest("trailer is malformed")
		}
		name := httpfield.Canonical(p.Key)
		if have, ok := into[name]; ok {
			into[name] = append(have, p.Val)
		}
	}
	for name, values := range into { // announced, but not there
		if values == nil {
			delete(into, name)
		}
	}
	return nil
}

// settleBody makes sure that a response's body is http.NoBody when there is none. The HTTP/2 client may
// set another body; and trailers may still follow a length of 0, so the end is awaited.
func settleBody(method string, res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	empty := method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	if !empty && res.ContentLength != 0 {
		return nil
	}
	var b [1]byte
	if n, err := res.Body.Read(b[:]); n > 0 || err != io.EOF {
		return &originError{cmp.Or(err, errNoBody)}
	}
	if len(res.Trailer) == 0 {
		_ = res.Body.Close() // it is at its end
		res.Body = http.NoBody
	}
	return nil
}

// framesResponse reports whether trailers may follow a response's body: its length is not known, or they are announced.
func framesResponse(res *http.Response) bool {
	return res.Body != http.NoBody && (res.ContentLength < 0 || len(res.Trailer) > 0)
}

// announceBody says in the head how the body is laid out, to an edge that asked.
func (x *flowState) announceBody(res *http.Response) {
	switch {
	case res.Body == http.NoBody:
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyNone})
	case framesResponse(res):
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
		if len(res.Trailer) > 0 {
			names := make([]string, 0, len(res.Trailer))
			for name := range res.Trailer {
				if httpfield.IsTrailer(name) {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			x.resp.Metadata = append(x.resp.Metadata,
				stream.Pair{Key: stream.HeaderPrefix + "Trailer", Val: strings.Join(names, ", ")})
		}
	}
}

// copyFramed streams a response's body as frames: each read is one and goes out at once, and the trailers go with FIN.
func (x *flowState) copyFramed(res *http.Response) error {
	buf := x.h.takeCopy()
	defer x.h.copies.Put(buf)
	for {
		n, err := res.Body.Read((*buf)[stream.FrameHeaderSize:])
		if n > 0 {
			stream.AppendDataHeader((*buf)[:0], n)
			send := x.s.Write
			if err == io.EOF {
				send = x.bufferAll
			}
			if _, werr := send((*buf)[:stream.FrameHeaderSize+n]); werr != nil {
				return &leftError{werr}
			}
		}
		if err == io.EOF {
			return x.closeFramed(res.Trailer)
		}
		if err != nil {
			return &originError{err}
		}
	}
}

// closeFramed ends a framed response.
func (x *flowState) closeFramed(trailer http.Header) error {
	var pairs []stream.Pair
	meter := x.h.limits.Fields.Meter()
	for name, values := range trailer {
		if !httpfield.IsToken(name) {
			return &originError{errTrailer}
		}
		if !httpfield.IsTrailer(name) {
			continue
		}
		for _, v := range values {
			if err := meter.Add(len(name), len(v)); err != nil {
				return &originError{err}
			}
			if !httpfield.IsValue(v) {
				return &originError{errTrailer}
			}
			pairs = append(pairs, stream.Pair{Key: name, Val: v})
		}
	}
	if len(pairs) > 0 {
		out, err := stream.AppendTrailers(x.out[:0], pairs)
		if err != nil {
			return &originError{err}
		}
		x.out = out
		if err := x.s.Buffer(out); err != nil {
			return &leftError{err}
		}
	}
	return x.closeResponse()
}

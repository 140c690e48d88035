package h1codec

import (
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// Framing says how a response's body ends.
type Framing uint8

// The framings.
const (
	NoBody Framing = iota
	Sized
	Chunked
	UntilClose
)

const (
	methodHead    = "HEAD"
	noContent     = 204
	notModified   = 304
	firstFinal    = 200
	lengthField   = "Content-Length"
	encodingField = "Transfer-Encoding"
)

// Body is what a head says about its body and about the connection.
type Body struct {
	Framing Framing
	Length  int64 // as http.Response.ContentLength
	Closes  bool  // the connection ends with this response
	Coded   bool  // the head declares the chunked coding, even if there is no body
	Trailer Header
}

// Settle applies the framing rules of RFC 9112 6.3 the way net/http does, and takes from the header what belongs to the
// connection. A head that could be read in two ways is an error.
func Settle(method string, h *Head) (s Body, err error) {
	s.Closes = takeClose(h)
	if s.Coded, err = takeTransferEncoding(h); err != nil {
		return s, err
	}
	declared, err := contentLength(h.Header)
	if err != nil {
		return s, err
	}
	switch {
	case method == methodHead:
		s.Framing, s.Length = NoBody, declared
	case h.Code < firstFinal, h.Code == noContent, h.Code == notModified:
		s.Framing = NoBody
	case s.Coded:
		delete(h.Header, lengthField)
		s.Framing, s.Length = Chunked, -1
	case declared == 0:
		s.Framing = NoBody
	case declared > 0:
		s.Framing, s.Length = Sized, declared
	default:
		s.Framing, s.Length, s.Closes = UntilClose, -1, true
	}
	if s.Coded {
		s.Trailer, err = takeTrailer(h.Header)
	}
	return s, err
}

// takeClose reports whether the peer ends the connection. With HTTP/1.0 it always does for us: the meaning of keep-alive from
// such a peer is not certain.
func takeClose(h *Head) bool {
	values, ok := h.Header["Connection"]
	if !h.atLeast11() {
		return true
	}
	if !ok || !httpfield.ListHasToken(values, "close") {
		return false
	}
	for _, v := range values { // named fields end at this hop, and so does the list
		for name := range httpfield.Items(v) {
			if httpfield.IsNamed(values, name) {
				delete(h.Header, httpfield.Canonical(name))
			}
		}
	}
	delete(h.Header, "Connection")
	return true
}

// takeTransferEncoding reports whether the body is chunked; no other coding is accepted.
func takeTransferEncoding(h *Head) (bool, error) {
	values, ok := h.Header[encodingField]
	if !ok {
		return false, nil
	}
	delete(h.Header, encodingField)
	if !h.atLeast11() {
		return false, nil
	}
	if len(values) != 1 || !strings.EqualFold(values[0], "chunked") {
		return false, Malformed("unsupported transfer encoding", strings.Join(values, ", "))
	}
	return true, nil
}

// contentLength gives the declared length, -1 without one. Equal repetitions become one.
func contentLength(header Header) (int64, error) {
	values, ok := header[lengthField]
	if !ok {
		return -1, nil
	}
	first := httpfield.TrimOWS(values[0])
	for _, v := range values[1:] {
		if httpfield.TrimOWS(v) != first {
			return 0, Malformed("different content lengths", strings.Join(values, ", "))
		}
	}
	if len(values) > 1 {
		header[lengthField] = []string{first}
	}
	n, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return 0, Malformed("content length", first)
	}
	return int64(n), nil // at most 63 bits
}

// takeTrailer gives the announced trailer names, nil without any.
func takeTrailer(header Header) (Header, error) {
	values, ok := header["Trailer"]
	if !ok {
		return nil, nil
	}
	delete(header, "Trailer")
	trailer := make(Header)
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = httpfield.Canonical(httpfield.TrimOWS(name))
			if FramesBody(name) {
				return nil, Malformed("trailer name", name)
			}
			if name != "" {
				trailer[name] = nil
			}
		}
	}
	if len(trailer) == 0 {
		return nil, nil
	}
	return trailer, nil
}

// FramesBody reports whether a canonical name must not be a trailer.
func FramesBody(name string) bool {
	return name == encodingField || name == lengthField || name == "Trailer"
}

// FixPragma says in Cache-Control what an old origin says in Pragma, as net/http does.
func FixPragma(header Header) {
	if v, ok := header["Pragma"]; ok && v[0] == "no-cache" {
		if _, ok := header["Cache-Control"]; !ok {
			header["Cache-Control"] = []string{"no-cache"}
		}
	}
}

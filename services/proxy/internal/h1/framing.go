package h1

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// framing says how a response's body ends.
type framing uint8

const (
	noBody framing = iota
	sized
	chunked
	untilClose
)

// settled is what a head says about its body and about the connection.
type settled struct {
	framing framing
	length  int64 // as http.Response.ContentLength
	closes  bool  // the connection ends with this response
	chunked bool  // as http.Response.TransferEncoding
	trailer http.Header
}

// settle applies the framing rules of RFC 9112 6.3 the way net/http does, and takes from the header what belongs to the
// connection. A head that could be read in two ways is an error.
func settle(method string, h *head) (s settled, err error) {
	s.closes = takeClose(h)
	if s.chunked, err = takeTransferEncoding(h); err != nil {
		return s, err
	}
	declared, err := contentLength(h.header)
	if err != nil {
		return s, err
	}
	switch {
	case method == http.MethodHead:
		s.framing, s.length = noBody, declared
	case h.code < 200, h.code == http.StatusNoContent, h.code == http.StatusNotModified:
		s.framing = noBody
	case s.chunked:
		delete(h.header, "Content-Length")
		s.framing, s.length = chunked, -1
	case declared == 0:
		s.framing = noBody
	case declared > 0:
		s.framing, s.length = sized, declared
	default:
		s.framing, s.length, s.closes = untilClose, -1, true
	}
	if s.chunked {
		s.trailer, err = takeTrailer(h.header)
	}
	return s, err
}

// takeClose reports whether the peer ends the connection. With HTTP/1.0 it always does for us: the meaning of keep-alive from
// such a peer is not certain.
func takeClose(h *head) bool {
	values, ok := h.header["Connection"]
	if !h.atLeast11() {
		return true
	}
	if !ok || !httpfield.ListHasToken(values, "close") {
		return false
	}
	for _, v := range values { // named fields end at this hop, and so does the list
		for name := range httpfield.Items(v) {
			if httpfield.IsNamed(values, name) {
				delete(h.header, httpfield.Canonical(name))
			}
		}
	}
	delete(h.header, "Connection")
	return true
}

// takeTransferEncoding reports whether the body is chunked; no other coding is accepted.
func takeTransferEncoding(h *head) (bool, error) {
	values, ok := h.header["Transfer-Encoding"]
	if !ok {
		return false, nil
	}
	delete(h.header, "Transfer-Encoding")
	if !h.atLeast11() {
		return false, nil
	}
	if len(values) != 1 || !strings.EqualFold(values[0], "chunked") {
		return false, malformed("unsupported transfer encoding", strings.Join(values, ", "))
	}
	return true, nil
}

// contentLength gives the declared length, -1 without one. Equal repetitions become one.
func contentLength(header http.Header) (int64, error) {
	values, ok := header["Content-Length"]
	if !ok {
		return -1, nil
	}
	first := textproto.TrimString(values[0])
	for _, v := range values[1:] {
		if textproto.TrimString(v) != first {
			return 0, malformed("different content lengths", strings.Join(values, ", "))
		}
	}
	if len(values) > 1 {
		header["Content-Length"] = []string{first}
	}
	n, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return 0, malformed("content length", first)
	}
	return int64(n), nil // at most 63 bits
}

// takeTrailer gives the announced trailer names, nil without any.
func takeTrailer(header http.Header) (http.Header, error) {
	values, ok := header["Trailer"]
	if !ok {
		return nil, nil
	}
	delete(header, "Trailer")
	trailer := make(http.Header)
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			name = httpfield.Canonical(textproto.TrimString(name))
			if framesBody(name) {
				return nil, malformed("trailer name", name)
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

// framesBody reports whether a canonical name must not be a trailer.
func framesBody(name string) bool {
	return name == "Transfer-Encoding" || name == "Content-Length" || name == "Trailer"
}

// fixPragma says in Cache-Control what an old origin says in Pragma, as net/http does.
func fixPragma(header http.Header) {
	if v, ok := header["Pragma"]; ok && v[0] == "no-cache" {
		if _, ok := header["Cache-Control"]; !ok {
			header["Cache-Control"] = []string{"no-cache"}
		}
	}
}

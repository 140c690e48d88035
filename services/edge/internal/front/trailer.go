package front

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const headerTrailer = "Trailer"

// fitTrailer decides by a canonical name what may be a trailer: nothing that frames, routes or belongs to one hop, and
// nothing that edge and connector tell each other.
func fitTrailer(name string) bool {
	return httpguts.ValidTrailerHeader(name) && !dropResponseHeader(name) && !dropRequestHeader(name)
}

// appendTrailers appends the trailers frame of a request body that was read to its end. Without trailers there is none.
func appendTrailers(dst []byte, trailers http.Header) ([]byte, error) {
	var pairs []stream.Pair
	for name, values := range trailers {
		if !fitTrailer(name) {
			continue
		}
		for _, val := range values {
			pairs = append(pairs, stream.Pair{Key: name, Val: val})
		}
	}
	if len(pairs) == 0 {
		return dst, nil
	}
	return stream.AppendTrailers(dst, pairs)
}

// announced gives the fit names of a request's trailers as one value, or "".
func announced(trailers http.Header) string {
	names := make([]string, 0, len(trailers))
	for name := range trailers {
		if fitTrailer(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// announceTrailers copies what an answer says of its trailers into its header, for visitors who want to know beforehand.
func announceTrailers(h http.Header, md []stream.Pair) (names []string) {
	for _, p := range md {
		if !isHeader(p.Key, headerTrailer) {
			continue
		}
		for name := range strings.SplitSeq(p.Val, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if httpguts.ValidHeaderFieldName(name) && fitTrailer(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 0 {
		h[headerTrailer] = []string{strings.Join(names, ", ")}
	}
	return names
}

// isHeader reports whether a metadata key is a header of this canonical name.
func isHeader(key, name string) bool {
	return len(key) == len(stream.HeaderPrefix)+len(name) && strings.HasPrefix(key, stream.HeaderPrefix) &&
		strings.EqualFold(key[len(stream.HeaderPrefix):], name)
}

// setTrailers hands an answer's trailers to the server, which sends them when the handler returns.
func setTrailers(h http.Header, names []string, trailers []stream.Pair) {
	for _, name := range names {
		delete(h, name) // a header of this name was sent
	}
	for _, p := range trailers {
		name := textproto.CanonicalMIMEHeaderKey(p.Key)
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(p.Val) || !fitTrailer(name) {
			continue
		}
		if !slices.Contains(names, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], p.Val)
	}
}

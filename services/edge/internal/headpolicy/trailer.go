package headpolicy

import (
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// isTrailer decides by a canonical name what may be a trailer: what RFC 9110 6.5.1 allows and a header could be, too. The
// edge sets or strips the rest in headers, so it must not come behind the body either.
func isTrailer(name string) bool { return httpfield.IsTrailer(name) && Of(name) == Pass }

// AppendTrailers appends the trailers frame for a request body that was read to its end; without trailers it appends
// nothing. It fails with an error of httpfield.Limits, or when the frame would be too long.
func AppendTrailers(dst []byte, trailers map[string][]string, limits httpfield.Limits) ([]byte, error) {
	var pairs []stream.Pair
	meter := limits.Meter()
	for name, values := range trailers {
		if !isTrailer(name) {
			continue
		}
		for _, val := range values {
			if err := meter.Add(len(name), len(val)); err != nil {
				return dst, err
			}
			pairs = append(pairs, stream.Pair{Key: name, Val: val})
		}
	}
	if len(pairs) == 0 {
		return dst, nil
	}
	return stream.AppendTrailers(dst, pairs)
}

// TrailerNames gives the names of a request's trailers that may pass as one value, or "".
func TrailerNames(trailers map[string][]string) string {
	names := make([]string, 0, len(trailers))
	for name := range trailers {
		if isTrailer(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// AnnounceTrailers copies the names of a response's trailers into its header h and returns them.
func AnnounceTrailers(h map[string][]string, md []stream.Pair) (names []string) {
	for _, list := range Values(md, Trailer) {
		for name := range httpfield.Items(list) {
			name = httpfield.Canonical(name)
			if isTrailer(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 0 {
		h[Trailer] = []string{strings.Join(names, ", ")}
	}
	return names
}

// SetTrailers puts a response's trailers into h, where net/http looks for them when the handler returns: under their name
// if they were announced in names, else with prefix before it. It fails with an error of httpfield.Limits.
func SetTrailers(h map[string][]string, names []string, trailers []stream.Pair, prefix string, limits httpfield.Limits) error {
	for _, name := range names {
		delete(h, name) // a header of this name was sent
	}
	meter := limits.Meter()
	for _, p := range trailers {
		if err := meter.Add(len(p.Key), len(p.Val)); err != nil {
			return err
		}
		name := httpfield.Canonical(p.Key)
		if !httpfield.IsValue(p.Val) || !isTrailer(name) {
			continue
		}
		if !slices.Contains(names, name) {
			name = prefix + name
		}
		h[name] = append(h[name], p.Val)
	}
	return nil
}

package stream

import (
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// keyNames are the spellings of a common header field: its metadata key, and its name in HTTP/1 and HTTP/2.
type keyNames struct{ key, canonical, lower string }

// commonKeys finds common header fields by any of their spellings, so that they cost no allocation.
var commonKeys = makeCommonKeys() //nolint:gochecknoglobals // a table

func makeCommonKeys() map[string]keyNames {
	m := make(map[string]keyNames)
	for name := range httpfield.Common {
		n := keyNames{HeaderPrefix + name, name, httpfield.Lower(name)}
		m[n.key], m[n.canonical], m[n.lower] = n, n, n
	}
	return m
}

// HeaderKey gives the metadata key of a header field: HeaderPrefix and the canonical name. It allocates nothing for common
// names. A name that is no token is not changed.
func HeaderKey(name string) string {
	if n, ok := commonKeys[name]; ok {
		return n.key
	}
	return HeaderPrefix + httpfield.Canonical(name)
}

// HeaderName gives the canonical name of the header field that a metadata key stands for. It reports false when the key
// is no header field or the name is no token.
func HeaderName(key string) (canonical string, ok bool) {
	if n, ok := commonKeys[key]; ok {
		return n.canonical, strings.HasPrefix(key, HeaderPrefix)
	}
	name, ok := strings.CutPrefix(key, HeaderPrefix)
	if !ok || !httpfield.IsToken(name) {
		return "", false
	}
	return httpfield.Canonical(name), true
}

// LowerHeaderName is HeaderName with the spelling of HTTP/2.
func LowerHeaderName(key string) (lower string, ok bool) {
	if n, ok := commonKeys[key]; ok {
		return n.lower, strings.HasPrefix(key, HeaderPrefix)
	}
	name, ok := strings.CutPrefix(key, HeaderPrefix)
	if !ok || !httpfield.IsToken(name) {
		return "", false
	}
	return httpfield.Lower(name), true
}

// IsHeader reports whether a metadata key stands for the header field of this name, in any letter case.
func IsHeader(key, name string) bool {
	return len(key) == len(HeaderPrefix)+len(name) && strings.HasPrefix(key, HeaderPrefix) &&
		httpfield.EqualFold(key[len(HeaderPrefix):], name)
}

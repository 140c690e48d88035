package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	// CatchAll is the pattern that matches every host.
	CatchAll = "*"
	// maxHost is the longest host name of the domain name system in text form.
	maxHost = 253
	// wildcardPrefix is the start of a pattern that matches every name below a domain.
	wildcardPrefix = "*."
)

// ErrHost says that a host or pattern is not well formed.
var ErrHost = errors.New("malformed host")

// Canonical returns the host of a request in the form of the keys of a Table: no port, no trailing dot, lower case,
// punycode. A host that already has it is returned without allocation.
func Canonical(host string) (string, error) {
	h := stripPort(host)
	if strings.HasPrefix(h, "[") {
		return canonicalIP(h, host)
	}
	h = strings.TrimSuffix(h, ".")
	if h == "" || len(h) > 4*maxHost {
		return "", fmt.Errorf("%w: %q", ErrHost, host)
	}
	if !isASCII(h) {
		if !utf8.ValidString(h) {
			return "", fmt.Errorf("%w: %q", ErrHost, host)
		}
		a, err := profile().ToASCII(h)
		if err != nil {
			return "", fmt.Errorf("%w: %q", ErrHost, host)
		}
		h = a
	}
	h = strings.ToLower(h)
	if len(h) > maxHost || !wellFormed(h) {
		return "", fmt.Errorf("%w: %q", ErrHost, host)
	}
	return h, nil
}

// CanonicalPattern is Canonical for patterns: an exact host, "*.domain" or "*".
func CanonicalPattern(pattern string) (string, error) {
	p := strings.TrimSpace(pattern)
	if p == CatchAll {
		return p, nil
	}
	rest, wildcard := strings.CutPrefix(p, wildcardPrefix)
	if strings.ContainsAny(rest, "/?#@*") {
		return "", fmt.Errorf("%w: %q", ErrHost, pattern)
	}
	h, err := Canonical(rest)
	if err != nil {
		return "", fmt.Errorf("%w: %q", ErrHost, pattern)
	}
	if wildcard {
		if strings.HasPrefix(h, "[") {
			return "", fmt.Errorf("%w: %q", ErrHost, pattern)
		}
		return wildcardPrefix + h, nil
	}
	return h, nil
}

func profile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))
}

func stripPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	for _, c := range []byte(host[i+1:]) {
		if c < '0' || c > '9' {
			return host
		}
	}
	return host[:i]
}

func canonicalIP(h, host string) (string, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(h, "["), "]")
	addr, err := netip.ParseAddr(inner)
	if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", fmt.Errorf("%w: %q", ErrHost, host)
	}
	return "[" + addr.String() + "]", nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// wellFormed accepts labels of letters, digits, hyphens and underscores, 1 to 63 long.
func wellFormed(h string) bool {
	label := 0
	for i := range len(h) {
		switch c := h[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}

package flow

import "strings"

// charset is a set of bytes.
type charset [256]bool

func charsetOf(chars string) (c charset) {
	for _, b := range []byte(chars) {
		c[b] = true
	}
	for b := '0'; b <= '9'; b++ {
		c[b] = true
	}
	for b := 'a'; b <= 'z'; b++ {
		c[b], c[b-'a'+'A'] = true, true
	}
	return c
}

var (
	// tokenChars are the characters of a token (RFC 9110 5.6.2).
	tokenChars = charsetOf("!#$%&'*+-.^_`|~") //nolint:gochecknoglobals // a table
	// legalInPath are the characters that a path may hold; "%" starts an escape.
	legalInPath = charsetOf("-._~!$&'()*+,;=:@[]/%") //nolint:gochecknoglobals // a table
	// legalInQuery is everything that does not break the request line: origins see queries as they were sent.
	legalInQuery = visible() //nolint:gochecknoglobals // a table
)

func visible() (c charset) {
	for b := 0x21; b < 0x100; b++ {
		c[b] = b != 0x7f
	}
	return c
}

// isToken reports whether s is a token.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s can be a header's value: no control characters except the tab.
func isFieldValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// hasControl reports whether s holds a control character.
func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f {
			return true
		}
	}
	return false
}

// escape percent-encodes what is not legal; it is s itself in the usual case.
func escape(s string, legal *charset) string {
	bad := 0
	for i := 0; i < len(s); i++ {
		if !legal[s[i]] {
			bad++
		}
	}
	if bad == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 2*bad)
	for i := 0; i < len(s); i++ {
		if c := s[i]; legal[c] {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// hasToken reports whether a comma-separated list holds a token, in any letter case, with or without parameters.
func hasToken(list, token string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item, _, _ = strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(item), token) {
			return true
		}
	}
	return false
}

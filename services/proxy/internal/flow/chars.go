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

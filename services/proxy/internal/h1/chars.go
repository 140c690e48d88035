package h1

// charset is a set of bytes.
type charset [256]bool

func charsetOf(more string) (c charset) {
	for b := '0'; b <= '9'; b++ {
		c[b] = true
	}
	for b := 'a'; b <= 'z'; b++ {
		c[b], c[b-'a'+'A'] = true, true
	}
	for _, b := range []byte(more) {
		c[b] = true
	}
	return c
}

// valueChars are the bytes a header's value may hold: no control characters except the tab.
func valueChars() (c charset) {
	for b := range c {
		c[b] = b >= ' ' && b != 0x7f || b == '\t'
	}
	return c
}

var (
	tokenBytes = charsetOf("!#$%&'*+-.^_`|~") //nolint:gochecknoglobals // a table (RFC 9110 5.6.2)
	hostBytes  = charsetOf("-._:[]")          //nolint:gochecknoglobals // a table; other hosts are net/http's business
	valueBytes = valueChars()                 //nolint:gochecknoglobals // a table
)

func isTokenByte(c byte) bool { return tokenBytes[c] }

func (c *charset) holds(s string) bool {
	for i := 0; i < len(s); i++ {
		if !c[s[i]] {
			return false
		}
	}
	return true
}

func isToken(s string) bool { return s != "" && tokenBytes.holds(s) }

func isValue(s string) bool { return valueBytes.holds(s) }

// isTarget reports whether s can stand in a request line: nothing that would end it or split it.
func isTarget(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

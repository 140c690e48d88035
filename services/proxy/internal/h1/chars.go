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

// hostBytes are the bytes of hosts that this package handles. Other hosts are the fallback's business.
var hostBytes = charsetOf("-._:[]") //nolint:gochecknoglobals // a table

func (c *charset) holds(s string) bool {
	for i := 0; i < len(s); i++ {
		if !c[s[i]] {
			return false
		}
	}
	return true
}

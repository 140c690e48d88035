package httpfield

// Classes of bytes.
const (
	classToken  = 1 << iota // tchar (RFC 9110 5.6.2)
	classValue              // field-vchar, obs-text, space and tab (RFC 9110 5.5)
	classTarget             // visible and not ASCII control: cannot end or split a request line
)

var class = classes() //nolint:gochecknoglobals // a table

func classes() (t [256]uint8) {
	for c := range t {
		switch {
		case c == '\t', c == ' ':
			t[c] = classValue
		case c < ' ', c == 0x7f:
		default:
			t[c] = classValue | classTarget
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789") {
		t[c] |= classToken
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= classToken
		t[upper(byte(c))] |= classToken
	}
	return t
}

// IsTokenByte reports whether c may be part of a token: a field name, a method, a list item (RFC 9110 5.6.2).
func IsTokenByte(c byte) bool { return class[c]&classToken != 0 }

// IsValueByte reports whether c may be part of a field value: everything but control characters; tab is allowed (RFC 9110 5.5).
func IsValueByte(c byte) bool { return class[c]&classValue != 0 }

// IsTargetByte reports whether c may be part of a request target on a request line: no space and no control character.
// Which characters a target may have beyond that is a matter of its URL.
func IsTargetByte(c byte) bool { return class[c]&classTarget != 0 }

// IsToken reports whether s is a token, and so a valid field name. The empty string is none.
func IsToken(s string) bool { return s != "" && consists(s, classToken) }

// IsValue reports whether s is a valid field value. The empty string is one; whitespace at the ends is not refused.
func IsValue(s string) bool { return consists(s, classValue) }

// IsTarget reports whether s can stand as the target in a request line without ending or splitting it.
func IsTarget(s string) bool { return s != "" && consists(s, classTarget) }

func consists(s string, of uint8) bool {
	for i := range len(s) {
		if class[s[i]]&of == 0 {
			return false
		}
	}
	return true
}

// text is what the functions accept that parsers of bytes call as well.
type text interface{ ~string | ~[]byte }

// TrimOWS removes spaces and tabs from both ends (RFC 9110 5.6.3).
func TrimOWS[T text](s T) T {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// EqualFold reports whether a and b are equal when ASCII letters are compared in any case.
func EqualFold[T text](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(b) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// ParseLength parses the value of Content-Length: digits only (RFC 9110 8.6), no sign, no whitespace, no list. It reports
// false for anything else and for a number above the largest int64.
func ParseLength[T text](s T) (int64, bool) {
	const limit = 1<<63 - 1
	n := int64(0)
	for i := range len(s) {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(s) > 0
}

// IsLowerToken reports whether s is a token without upper case letters, and so a valid field name of HTTP/2 (RFC 9113 8.2.1).
func IsLowerToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; class[c]&classToken == 0 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

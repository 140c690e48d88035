package httpfield

// Canonical gives a name in the spelling of HTTP/1: "content-type" becomes "Content-Type". A name that is no token
// is returned as it is. The result equals that of net/textproto.CanonicalMIMEHeaderKey.
func Canonical(name string) string {
	first, same := true, true
	for i := range len(name) {
		c := name[i]
		if !IsTokenByte(c) {
			return name
		}
		same = same && c == cased(c, first)
		first = c == '-'
	}
	if same {
		return name
	}
	if s, ok := common[name]; ok {
		return s.canonical
	}
	b := make([]byte, len(name))
	first = true
	for i := range b {
		b[i] = cased(name[i], first)
		first = name[i] == '-'
	}
	return string(b)
}

func cased(c byte, first bool) byte {
	if first {
		return upper(c)
	}
	return lower(c)
}

// Lower gives a name in the spelling of HTTP/2 (RFC 9113 8.2.1): "Content-Type" becomes "content-type". Bytes that are
// not ASCII letters stay as they are.
func Lower(name string) string {
	same := true
	for i := range len(name) {
		same = same && name[i] == lower(name[i])
	}
	if same {
		return name
	}
	if s, ok := common[name]; ok {
		return s.lower
	}
	b := make([]byte, len(name))
	for i := range b {
		b[i] = lower(name[i])
	}
	return string(b)
}

// equalFolded compares a name with a constant in lower case: letters fold, and "_" counts as "-".
func equalFolded(name, want string) bool {
	return len(name) == len(want) && hasFoldedPrefix(name, want)
}

// hasFoldedPrefix looks for a prefix of a name as equalFolded compares names.
func hasFoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := lower(name[i])
		if c == '_' {
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

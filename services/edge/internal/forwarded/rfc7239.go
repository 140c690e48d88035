package forwarded

import "strings"

// hop is one element of Forwarded.
type hop struct{ addr, proto, host string }

// parseForwarded reads the elements of Forwarded (RFC 7239 4). Parameters that are not understood are skipped. An element
// that cannot be read has no address, so that nothing left of it counts.
func parseForwarded(lines []string) []hop {
	var out []hop
	for _, line := range lines {
		for rest := line; rest != ""; {
			var h hop
			h, rest = parseElement(rest)
			out = append(out, h)
		}
	}
	return out
}

// parseElement reads up to the comma that ends an element.
func parseElement(s string) (h hop, rest string) {
	for {
		s = strings.TrimLeft(s, " \t;")
		if s == "" {
			return h, ""
		}
		if s[0] == ',' {
			return h, s[1:]
		}
		name, val, after, ok := parsePair(s)
		if !ok {
			return hop{}, skipElement(s)
		}
		s = after
		switch strings.ToLower(name) {
		case "for":
			h.addr = val
		case "proto":
			h.proto = val
		case "host":
			h.host = val
		}
	}
}

// parsePair reads name=token or name="quoted".
func parsePair(s string) (name, val, rest string, ok bool) {
	eq := strings.IndexAny(s, "=;, \t\"")
	if eq <= 0 || s[eq] != '=' {
		return "", "", "", false
	}
	name, s = s[:eq], s[eq+1:]
	if s == "" || s[0] != '"' {
		end := strings.IndexAny(s, ";, \t\"")
		if end < 0 {
			end = len(s)
		}
		return name, s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return name, b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", "", false // the quote never ends
}

// skipElement goes past the next comma outside quotes.
func skipElement(s string) string {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return s[i+1:]
		}
	}
	return ""
}

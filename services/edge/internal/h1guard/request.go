package h1guard

import "github.com/culvert-tunnel/culvert/pkg/wire/httpfield"

func (g *Guard) method(p []byte) (int, Reason) {
	for i, c := range p {
		if c == ' ' && g.head.method.n > 0 {
			g.state = atTarget
			g.text.reset()
			return i + 1, 0
		}
		if !httpfield.IsTokenByte(c) || !g.head.method.add(p[i:i+1]) {
			return i, RequestLine
		}
	}
	return len(p), 0
}

func (g *Guard) target(p []byte) (int, Reason) {
	for i, c := range p {
		if c == ' ' {
			if !g.targetEnds() {
				return i, Target
			}
			g.state = atVersion
			g.text.reset()
			return i + 1, 0
		}
		if g.count++; g.limits.Target > 0 && g.count > g.limits.Target {
			return i, TargetLength
		}
		if !httpfield.IsTargetByte(c) {
			return i, Target
		}
		if g.head.form != originForm && g.head.form != absoluteForm && g.head.form != connectForm && !g.targetByte(c) {
			return i, Target
		}
	}
	return len(p), 0
}

// targetByte looks at the beginning of a target.
func (g *Guard) targetByte(c byte) bool {
	h := &g.head
	switch h.form {
	case unknownForm:
		switch {
		case h.method.is("CONNECT"):
			h.form = connectForm
			return c != '/' && c != '*'
		case c == '/':
			h.form = originForm
		case c == '*':
			h.form = asteriskForm
			return h.method.is("OPTIONS")
		default:
			h.form = schemeForm
			g.text.add([]byte{c})
		}
		return true
	case schemeForm:
		g.text.add([]byte{c})
		switch t := g.text.bytes(); {
		case httpfield.EqualFold(t, "http://"), httpfield.EqualFold(t, "https://"):
			h.form = authorityForm
		case len(t) > len("https://"):
			return false
		}
		return true
	case authorityForm:
		switch c {
		case '/', '?':
			h.form = absoluteForm
			return h.authority.n > 0
		case '@', '#', '\\':
			return false
		}
		h.authority.add([]byte{c})
		return !h.authority.over
	default: // a byte behind an asterisk
		return false
	}
}

func (g *Guard) targetEnds() bool {
	switch g.head.form {
	case originForm, asteriskForm, absoluteForm, connectForm:
		return true
	case authorityForm:
		g.head.form = absoluteForm
		return g.head.authority.n > 0
	default:
		return false
	}
}

func (g *Guard) version(p []byte) (int, Reason) {
	for i, c := range p {
		if c != '\r' {
			if g.text.add(p[i : i+1]); g.text.n > versionLen {
				return i, Version
			}
			continue
		}
		switch string(g.text.bytes()) {
		case "HTTP/1.1":
		case "HTTP/1.0":
			g.head.http10 = true
		default:
			return i, Version
		}
		g.state = atRequestLF
		return i + 1, 0
	}
	return len(p), 0
}

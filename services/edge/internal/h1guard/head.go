package h1guard

import (
	"bytes"
	"math"
)

// The classes of bytes.
const (
	classToken  = 1 << iota // in a method or a name
	classValue              // in a value: no control but a tab
	classTarget             // in a target
)

//nolint:gochecknoglobals // a table that nothing changes
var class = classes()

func classes() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c == '\t', c == ' ':
			t[c] = classValue
		case c < ' ', c == 0x7f:
		default:
			t[c] = classValue | classTarget
		}
	}
	for c := '0'; c <= 'z'; c++ {
		if c <= '9' || c >= 'a' || (c >= 'A' && c <= 'Z') {
			t[c] |= classToken
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= classToken
	}
	return t
}

// field is a header that matters.
type field uint8

const (
	otherField field = iota
	contentLength
	transferEncoding
	hostField
	connection
	upgrade
)

// form is the kind of a request's target.
type form uint8

const (
	unknownForm form = iota
	originForm
	asteriskForm
	schemeForm    // an absolute target, in its scheme
	authorityForm // an absolute target, in its authority
	absoluteForm  // an absolute target, past its authority
	connectForm
)

// head is what is known of the request whose head is read.
type head struct {
	method    short
	http10    bool
	form      form
	field     field
	authority text // of an absolute target
	host      text
	hosts     int
	length    uint64
	hasLength bool
	hasCoding bool
	upgrade   bool // Connection names it
	webSocket bool // Upgrade names it
}

// short is a short text that must be kept whole.
type short struct {
	n int
	b [maxMethod]byte
}

func (s *short) add(b []byte) bool {
	k := copy(s.b[s.n:], b)
	s.n += k
	return k == len(b)
}

func (s *short) is(name string) bool { return string(s.b[:s.n]) == name }

// reset forgets the last request; the texts keep their bytes, which nothing reads.
func (h *head) reset() {
	h.method.n, h.http10, h.form, h.field = 0, false, unknownForm, otherField
	h.authority.reset()
	h.host.reset()
	h.hosts, h.length, h.hasLength, h.hasCoding, h.upgrade, h.webSocket = 0, 0, false, false, false, false
}

// line takes the first byte of a field line.
func (g *Guard) line(c byte) Reason {
	switch {
	case c == '\r':
		g.state = atHeadLF
		return 0
	case c == ' ', c == '\t':
		return Folded
	case class[c]&classToken == 0:
		if c == '\n' {
			return LineEnd
		}
		return FieldName
	}
	g.name.reset()
	g.name.add([]byte{c})
	g.state = atName
	g.count++
	return 0
}

func (g *Guard) fieldName(p []byte) (int, Reason) {
	for i, c := range p {
		if class[c]&classToken != 0 {
			continue
		}
		if c != ':' {
			if c == '\n' || c == '\r' {
				return i, LineEnd
			}
			return i, FieldName
		}
		g.name.add(p[:i])
		g.head.field = fieldOf(&g.name)
		if g.trailer && g.head.field != otherField {
			return i, Trailers
		}
		g.text.reset()
		g.state = atSpace
		g.count += i + 1
		return i + 1, 0
	}
	g.name.add(p)
	g.count += len(p)
	return len(p), 0
}

func fieldOf(name *text) field {
	if name.over {
		return otherField
	}
	switch b := name.bytes(); len(b) {
	case len("host"):
		if equalFold(b, "host") {
			return hostField
		}
	case len("upgrade"):
		if equalFold(b, "upgrade") {
			return upgrade
		}
	case len("connection"):
		if equalFold(b, "connection") {
			return connection
		}
	case len("content-length"):
		if equalFold(b, "content-length") {
			return contentLength
		}
	case len("transfer-encoding"):
		if equalFold(b, "transfer-encoding") {
			return transferEncoding
		}
	}
	return otherField
}

func (g *Guard) space(c byte) Reason {
	g.count++
	if c == ' ' || c == '\t' {
		return 0
	}
	g.state = atValue
	if c == '\r' { // an empty value
		return g.fieldEnds()
	}
	if class[c]&classValue == 0 {
		return controlReason(c)
	}
	if g.head.field != otherField {
		g.text.add([]byte{c})
	}
	return 0
}

func controlReason(c byte) Reason {
	if c == '\n' {
		return LineEnd
	}
	return FieldValue
}

func (g *Guard) fieldValue(p []byte) (int, Reason) {
	for i, c := range p {
		if class[c]&classValue != 0 {
			continue
		}
		if c != '\r' {
			return i, controlReason(c)
		}
		if g.head.field != otherField {
			g.text.add(p[:i])
		}
		g.count += i
		if reason := g.fieldEnds(); reason != 0 {
			return i, reason
		}
		return i + 1, 0
	}
	if g.head.field != otherField {
		g.text.add(p)
	}
	g.count += len(p)
	return len(p), 0
}

// fieldEnds looks at a field whose value is complete.
func (g *Guard) fieldEnds() Reason {
	if g.trailer && g.count > maxTrailers {
		return Trailers
	}
	g.state = atLineLF
	if g.head.field == otherField {
		return 0
	}
	return g.head.take(bytes.TrimRight(g.text.bytes(), " \t"), g.text.over)
}

// take keeps the value of a field that matters; over says that there is more of it.
func (h *head) take(value []byte, over bool) Reason {
	switch h.field {
	case contentLength:
		return h.takeLength(value, over)
	case transferEncoding:
		if h.hasCoding || over || !equalFold(value, "chunked") {
			return TransferEncoding
		}
		h.hasCoding = true
	case hostField:
		if h.hosts++; h.hosts > 1 || over {
			return Host
		}
		h.host.add(value)
	case connection:
		h.upgrade = h.upgrade || over || hasToken(value, "upgrade")
	case upgrade:
		h.webSocket = h.webSocket || over || hasToken(value, "websocket")
	case otherField:
	}
	return 0
}

func (h *head) takeLength(value []byte, over bool) Reason {
	n, ok := number(value)
	if !ok || over || (h.hasLength && n != h.length) {
		return ContentLength
	}
	h.length, h.hasLength = n, true
	return 0
}

// number reads digits only.
func number(b []byte) (uint64, bool) {
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(b) > 0
}

func hasToken(list []byte, token string) bool {
	for part := range bytes.SplitSeq(list, []byte{','}) {
		if equalFold(bytes.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// endOfFields decides at the end of a head how the body is framed, and ends a chunked one at the end of its trailers.
func (g *Guard) endOfFields() Reason {
	h := &g.head
	g.postBefore = h.method.is("POST")
	if g.trailer {
		g.trailer, g.chunked, g.count, g.state = false, false, 0, atStart
		return 0
	}
	if reason := h.contradiction(); reason != 0 {
		return reason
	}
	hasBody := h.hasCoding || h.length > 0
	switch {
	case h.upgrade && h.webSocket && !h.http10 && h.method.is("GET"):
		if hasBody {
			return UpgradeBody
		}
		g.upgraded, g.state = true, atThrough
	case h.hasCoding:
		g.chunked, g.count, g.left, g.state = true, 0, 0, atChunkSize
	case hasBody:
		g.left, g.state = h.length, atBody
	default:
		g.state = atStart
	}
	return 0
}

// contradiction finds what cannot be said together.
func (h *head) contradiction() Reason {
	switch {
	case h.hosts == 0 && !h.http10:
		return Host
	case h.form == absoluteForm && h.hosts > 0 && !bytes.EqualFold(h.authority.bytes(), h.host.bytes()):
		return Host
	case h.hasCoding && h.hasLength:
		return TwoLengths
	case h.hasCoding && h.http10:
		return TransferEncoding
	default:
		return 0
	}
}

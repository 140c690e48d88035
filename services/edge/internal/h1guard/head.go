package h1guard

import (
	"bytes"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

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
	upgrade   bool // the Connection header says upgrade
	webSocket bool // the Upgrade header says websocket
	protocol  bool // the Upgrade header names a protocol
	h2c       bool // the Upgrade header says h2c
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
	h.protocol, h.h2c = false, false
}

// line takes the first byte of a field line.
func (g *Guard) line(c byte) Reason {
	switch {
	case c == '\r':
		g.state = atHeadLF
		return 0
	case c == ' ', c == '\t':
		return Folded
	case !httpfield.IsTokenByte(c):
		if c == '\n' {
			return LineEnd
		}
		return FieldName
	}
	g.name.reset()
	g.name.add([]byte{c})
	g.state = atName
	g.count++
	g.size += httpfield.FieldOverhead
	if g.fields++; g.limits.Fields > 0 && g.fields > g.limits.Fields {
		return FieldCount
	}
	return g.grow(1)
}

// grow counts n more bytes of a name or a value.
func (g *Guard) grow(n int) Reason {
	if g.size += n; g.limits.Bytes > 0 && g.size > g.limits.Bytes {
		return FieldBytes
	}
	return 0
}

func (g *Guard) fieldName(p []byte) (int, Reason) {
	for i, c := range p {
		if httpfield.IsTokenByte(c) {
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
		return i + 1, g.grow(i)
	}
	g.name.add(p)
	g.count += len(p)
	return len(p), g.grow(len(p))
}

func fieldOf(name *text) field {
	if name.over {
		return otherField
	}
	switch b := name.bytes(); len(b) {
	case len("host"):
		if httpfield.EqualFold(b, "host") {
			return hostField
		}
	case len("upgrade"):
		if httpfield.EqualFold(b, "upgrade") {
			return upgrade
		}
	case len("connection"):
		if httpfield.EqualFold(b, "connection") {
			return connection
		}
	case len("content-length"):
		if httpfield.EqualFold(b, "content-length") {
			return contentLength
		}
	case len("transfer-encoding"):
		if httpfield.EqualFold(b, "transfer-encoding") {
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
	if !httpfield.IsValueByte(c) {
		return controlReason(c)
	}
	if g.head.field != otherField {
		g.text.add([]byte{c})
	}
	return g.grow(1)
}

func controlReason(c byte) Reason {
	if c == '\n' {
		return LineEnd
	}
	return FieldValue
}

func (g *Guard) fieldValue(p []byte) (int, Reason) {
	for i, c := range p {
		if httpfield.IsValueByte(c) {
			continue
		}
		if c != '\r' {
			return i, controlReason(c)
		}
		if g.head.field != otherField {
			g.text.add(p[:i])
		}
		g.count += i
		if reason := g.grow(i); reason != 0 {
			return i, reason
		}
		if reason := g.fieldEnds(); reason != 0 {
			return i, reason
		}
		return i + 1, 0
	}
	if g.head.field != otherField {
		g.text.add(p)
	}
	g.count += len(p)
	return len(p), g.grow(len(p))
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
		if h.hasCoding || over || !httpfield.EqualFold(value, "chunked") {
			return TransferEncoding
		}
		h.hasCoding = true
	case hostField:
		if h.hosts++; h.hosts > 1 || over {
			return Host
		}
		h.host.add(value)
	case connection:
		h.upgrade = h.upgrade || over || httpfield.HasToken(value, "upgrade")
	case upgrade:
		h.takeUpgrade(value, over)
	case otherField:
	}
	return 0
}

func (h *head) takeUpgrade(value []byte, over bool) {
	h.protocol = true
	h.webSocket = h.webSocket || over || httpfield.HasToken(value, "websocket")
	h.h2c = h.h2c || httpfield.HasToken(value, "h2c")
}

// asksForProtocol reports whether the request can switch to another protocol than WebSocket. The server ignores h2c.
func (h *head) asksForProtocol(hasBody bool) bool {
	return h.upgrade && h.protocol && !h.h2c && !h.http10 && !hasBody && h.method.is("GET")
}

func (h *head) takeLength(value []byte, over bool) Reason {
	n, ok := httpfield.ParseLength(value)
	if !ok || over || (h.hasLength && uint64(n) != h.length) {
		return ContentLength
	}
	h.length, h.hasLength = uint64(n), true
	return 0
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
	case h.asksForProtocol(hasBody):
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
	case h.form == absoluteForm && h.hosts > 0 && !httpfield.EqualFold(h.authority.bytes(), string(h.host.bytes())):
		return Host
	case h.hasCoding && h.hasLength:
		return TwoLengths
	case h.hasCoding && h.http10:
		return TransferEncoding
	default:
		return 0
	}
}

package h1guard

import "github.com/culvert-tunnel/culvert/pkg/wire/httpfield"

// Phase says where in a request a connection is.
type Phase uint8

// The phases.
const (
	Between Phase = iota // no byte of a next request was seen
	Head
	Body
	Through // bytes pass unseen
)

// state is what the next byte belongs to.
type state uint8

const (
	atStart state = iota
	atPreface
	atBlankLF // after the CR of an empty line before a request
	atMethod
	atTarget
	atVersion
	atRequestLF
	atLine // the first byte of a field line, or the CR of the empty line
	atName
	atSpace // white space before a value
	atValue
	atLineLF
	atHeadLF
	atBody
	atChunkSize
	atChunkExtension
	atChunkSizeLF
	atChunk
	atChunkCR
	atChunkLF
	atThrough
	atRefused
)

const (
	preface     = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceSure = len("PRI ") // text that begins so is the preface or invalid
	versionLen  = len("HTTP/1.1")
	// maxMethod bounds a method.
	maxMethod = 32
	// maxText bounds the parts that are looked at: an authority, the name and value of a field that matters.
	maxText = 256
	// maxChunkLine bounds the size and the extensions of one chunk.
	maxChunkLine = 1024
	// maxTrailers bounds all trailers of a request; it is looked at when one is complete.
	maxTrailers = 64 << 10
)

// Guard is the state of one connection. The zero value is ready for a connection that starts with HTTP/1.
type Guard struct {
	state   state
	trailer bool // the fields that are read are trailers
	chunked bool
	// postBefore says that the last request was a POST, after which old clients send an empty line too many.
	postBefore bool
	upgraded   bool
	refusal    *RefusedError
	// count is how much of the current part was seen: of the preface, the target, a chunk's line, the trailers.
	count int
	// fields and size measure the header or trailer section that is read, as Limits counts them.
	fields, size int
	limits       Limits
	// left is how much of the body or of the chunk is to come.
	left uint64
	head head
	name text
	text text
}

// text is the beginning of a part that is looked at.
type text struct {
	n    int
	b    [maxText]byte
	over bool // there was more
}

func (t *text) reset() { t.n, t.over = 0, false }

func (t *text) add(b []byte) {
	k := copy(t.b[t.n:], b)
	t.n += k
	t.over = t.over || k < len(b)
}

func (t *text) bytes() []byte { return t.b[:t.n] }

// Limits bound what one request may hold; 0 is no limit.
type Limits struct {
	// Target is the length of the request target, in bytes.
	Target int
	// Fields is the number of fields in a header or trailer section.
	Fields int
	// Bytes is the size of such a section: names, values and httpfield.FieldOverhead for each field.
	Bytes int
}

// New makes a guard for a connection that, with prior knowledge, may also start with the preface of HTTP/2.
func New(priorKnowledge bool, limits Limits) *Guard {
	g := &Guard{limits: limits}
	if priorKnowledge {
		g.state = atPreface
	}
	return g
}

// Phase says where the connection is.
func (g *Guard) Phase() Phase {
	switch {
	case g.state == atStart, g.state == atPreface && g.count == 0, g.state == atBlankLF:
		return Between
	case g.state == atThrough:
		return Through
	case g.state >= atBody || g.trailer:
		return Body
	default:
		return Head
	}
}

// Upgraded reports whether a request asked for another protocol than HTTP.
func (g *Guard) Upgraded() bool { return g.upgraded }

// Feed takes the next bytes of the connection. It gives how many of them are fine, which is all of them unless there is
// an error. The error is a *RefusedError, for good; the bytes before it do not complete the head, the chunk or the trailers
// in which it was found.
func (g *Guard) Feed(p []byte) (int, error) {
	i := 0
	for i < len(p) {
		if g.state == atThrough {
			return len(p), nil
		}
		n, reason := g.step(p[i:])
		i += n
		if reason != 0 {
			if g.refusal == nil {
				g.refusal = &RefusedError{Reason: reason, Phase: g.Phase()}
			}
			g.state = atRefused
			return i, g.refusal
		}
	}
	return i, nil
}

// step consumes some bytes of p, which is not empty.
func (g *Guard) step(p []byte) (int, Reason) {
	switch g.state {
	case atTarget:
		return g.target(p)
	case atName:
		return g.fieldName(p)
	case atValue:
		return g.fieldValue(p)
	case atBody, atChunk:
		return g.skip(p), 0
	case atChunkExtension:
		return g.chunkExtension(p)
	case atMethod:
		return g.method(p)
	case atVersion:
		return g.version(p)
	case atThrough:
		return len(p), 0
	case atRefused:
		return 0, g.refusal.Reason
	default:
	}
	reason := g.one(p[0])
	if reason != 0 {
		return 0, reason
	}
	return 1, 0
}

// one consumes one byte in a state that has no longer runs.
func (g *Guard) one(c byte) Reason {
	switch g.state {
	case atPreface:
		return g.prefaceByte(c)
	case atStart:
		return g.start(c)
	case atBlankLF:
		return g.want(c, '\n', LineEnd, atStart)
	case atRequestLF, atLineLF:
		return g.want(c, '\n', LineEnd, atLine)
	case atLine:
		return g.line(c)
	case atSpace:
		return g.space(c)
	case atHeadLF:
		if c != '\n' {
			return LineEnd
		}
		return g.endOfFields()
	case atChunkSize:
		return g.chunkSize(c)
	case atChunkSizeLF:
		if c != '\n' {
			return Chunk
		}
		g.afterChunkSize()
		return 0
	case atChunkCR:
		return g.want(c, '\r', Chunk, atChunkLF)
	case atChunkLF:
		g.count, g.left = 0, 0
		return g.want(c, '\n', Chunk, atChunkSize)
	default:
		return LineEnd
	}
}

// want advances when c is the only byte that is allowed here.
func (g *Guard) want(c, wanted byte, reason Reason, next state) Reason {
	if c != wanted {
		return reason
	}
	g.state = next
	return 0
}

func (g *Guard) prefaceByte(c byte) Reason {
	if c == preface[g.count] {
		if g.count++; g.count == len(preface) {
			g.state = atThrough
		}
		return 0
	}
	if g.count >= prefaceSure {
		return Version
	}
	seen := g.count
	g.count = 0
	return g.afterPreface(c, seen)
}

// afterPreface goes on with a request that began like the preface.
func (g *Guard) afterPreface(c byte, seen int) Reason {
	if seen == 0 {
		return g.start(c)
	}
	g.head.reset()
	g.head.method.add([]byte(preface[:seen]))
	g.state = atMethod
	_, reason := g.method([]byte{c})
	return reason
}

// start takes the first byte of a request.
func (g *Guard) start(c byte) Reason {
	if c == '\r' && g.postBefore {
		g.postBefore, g.state = false, atBlankLF
		return 0
	}
	g.head.reset()
	g.trailer, g.chunked, g.postBefore = false, false, false
	g.count, g.fields, g.size = 0, 0, 0
	g.state = atMethod
	_, reason := g.method([]byte{c})
	return reason
}

// skip passes over a body or a chunk.
func (g *Guard) skip(p []byte) int {
	n := len(p)
	if uint64(n) > g.left {
		n = int(g.left) // less than len(p)
	}
	if g.left -= uint64(n); g.left == 0 {
		if g.chunked {
			g.state = atChunkCR
		} else {
			g.state = atStart
		}
	}
	return n
}

// chunkSize takes a byte of the size, or what ends it.
func (g *Guard) chunkSize(c byte) Reason {
	if d, ok := hexDigit(c); ok {
		if g.count++; g.count > 15 { // more cannot be a size, and would overflow
			return Chunk
		}
		g.left = g.left<<4 | uint64(d)
		return 0
	}
	if g.count == 0 {
		return Chunk
	}
	switch c {
	case '\r':
		g.state = atChunkSizeLF
	case ';':
		g.state = atChunkExtension
	default:
		return Chunk
	}
	return 0
}

// chunkExtension skips what comes behind a size.
func (g *Guard) chunkExtension(p []byte) (int, Reason) {
	for i, c := range p {
		if g.count++; g.count > maxChunkLine {
			return i, Chunk
		}
		if c == '\r' {
			g.state = atChunkSizeLF
			return i + 1, 0
		}
		if !httpfield.IsValueByte(c) {
			return i, Chunk
		}
	}
	return len(p), 0
}

// afterChunkSize goes on to the data, or to the trailers after the last chunk.
func (g *Guard) afterChunkSize() {
	if g.left > 0 {
		g.state = atChunk
		return
	}
	g.trailer, g.count, g.fields, g.size, g.state = true, 0, 0, 0, atLine
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	default:
		return 0, false
	}
}

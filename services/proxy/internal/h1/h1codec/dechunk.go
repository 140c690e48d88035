package h1codec

import (
	"bytes"
	"io"
	"math"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	maxChunkLine = 4 << 10
	// maxTrailerBytes bounds a trailer section.
	maxTrailerBytes = 8 << 10
	// A chunk may cost 16 bytes and twice its data in overhead; what goes beyond adds up to at most maxExcess. Single-byte
	// chunks are fine, extensions without end are not.
	freeExcess = 16
	maxExcess  = 16 << 10
)

// chunkPart is what a chunked body continues with.
type chunkPart uint8

const (
	sizeLine chunkPart = iota
	chunkData
	chunkEnd
	trailerPart
)

// Dechunker decodes the structure of a chunked body: what is data, and what is around it. It never touches the data itself.
type Dechunker struct {
	// Trailer holds the trailer fields once the body has ended; nil without any.
	Trailer Header
	// Limits bounds the trailer fields.
	Limits httpfield.Limits

	next   chunkPart
	left   int64 // of the chunk
	excess int64
}

// Data returns how many bytes of data come next; 0 means that Step comes next.
func (d *Dechunker) Data() int64 {
	if d.next != chunkData {
		return 0
	}
	return d.left
}

// Took says that n bytes of data were consumed, at most Data.
func (d *Dechunker) Took(n int) {
	if d.left -= int64(n); d.left == 0 {
		d.next = chunkEnd
	}
}

// Step decodes the part of the structure at the start of b, and returns its size. 0 without an error asks for more bytes.
// io.EOF is the end of the body; the size counts then, too.
func (d *Dechunker) Step(b []byte) (size int, err error) {
	switch d.next {
	case chunkEnd:
		return d.end(b)
	case sizeLine:
		return d.size(b)
	case trailerPart:
		return d.trailer(b)
	case chunkData:
	}
	return 0, nil
}

// end decodes the line end after a chunk's data.
func (d *Dechunker) end(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, nil
	}
	if b[0] != '\r' || b[1] != '\n' {
		return 0, Malformed("chunk end", string(b[:2]))
	}
	d.next = sizeLine
	return 2, nil
}

// size decodes a chunk's first line.
func (d *Dechunker) size(b []byte) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i > maxChunkLine || i < 0 && len(b) > maxChunkLine {
		return 0, Malformed("chunk line too long", "")
	}
	if i < 0 {
		return 0, nil
	}
	line := b[:i]
	if i == 0 || bytes.IndexByte(line, '\r') != i-1 {
		return 0, Malformed("chunk line end", string(line[:min(i, quoteLimit)]))
	}
	size, err := chunkSize(line[:i-1])
	if err != nil {
		return 0, err
	}
	d.excess = max(0, d.excess+int64(i+1)-freeExcess-2*min(size, maxExcess))
	if d.excess > maxExcess {
		return 0, Malformed("more chunk overhead than data", "")
	}
	d.left, d.next = size, chunkData
	if size == 0 {
		d.next = trailerPart
	}
	return i + 1, nil
}

// trailer decodes the trailer section.
func (d *Dechunker) trailer(b []byte) (int, error) {
	end := trailerEnd(b)
	if end == 0 && len(b) >= maxTrailerBytes {
		return 0, Malformed("trailer section too long", "")
	}
	if end == 0 {
		return 0, nil
	}
	if end > len("\r\n") {
		section := b[:end]
		fields, err := ParseFields(string(section), bytes.Count(section, []byte{'\n'}), d.Limits)
		if err != nil {
			return 0, err
		}
		d.Trailer = fields
	}
	return end, io.EOF
}

// chunkSize parses a chunk line without its end. Extensions are ignored.
func chunkSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(bytes.TrimRight(line, " \t"), []byte{';'})
	if len(digits) == 0 || len(digits) > 16 {
		return 0, Malformed("chunk size", string(digits[:min(len(digits), quoteLimit)]))
	}
	var n uint64
	for _, c := range digits {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, Malformed("chunk size", string(digits))
		}
		n = n<<4 | uint64(c)
	}
	if n > math.MaxInt64 {
		return 0, Malformed("chunk size", string(digits))
	}
	return int64(n), nil
}

// trailerEnd gives the length of the trailer section, 0 if its end is not buffered.
func trailerEnd(b []byte) int {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	return 0
}

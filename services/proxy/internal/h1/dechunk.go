package h1

import (
	"bytes"
	"io"
	"math"
	"net/http"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

const (
	maxChunkLine = 4 << 10
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

// dechunker decodes a chunked body.
type dechunker struct {
	next   chunkPart
	left   int64 // of the chunk
	excess int64
	// trailer gets the trailer fields; it is made when there is one.
	trailer *http.Header
	limits  httpfield.Limits // of the trailer fields
}

// read gives data. Once it has some it goes on only with what is in the buffer, so that it never waits while it has data, and
// reports the end together with the last bytes if possible.
func (d *dechunker) read(in *reader, p []byte) (n int, err error) {
	for err == nil {
		if n > 0 && (n == len(p) && d.next == chunkData || !d.canGoOn(in)) {
			return n, nil
		}
		switch d.next {
		case chunkData:
			var m int
			m, err = in.Read(p[n:min(int64(len(p)), int64(n)+d.left)])
			n += m
			d.left -= int64(m)
			if d.left == 0 {
				d.next = chunkEnd
			}
		case chunkEnd:
			err = d.readEnd(in)
		case sizeLine:
			err = d.readSize(in)
		case trailerPart:
			if err = d.readTrailer(in); err == nil {
				return n, io.EOF
			}
		}
	}
	if isEnd(err) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// canGoOn reports whether the next step can be taken with what is buffered.
func (d *dechunker) canGoOn(in *reader) bool {
	switch d.next {
	case chunkData:
		return in.buffered() > 0
	case chunkEnd:
		return in.buffered() >= 2
	case sizeLine:
		return bytes.IndexByte(in.unread(), '\n') >= 0
	case trailerPart:
		return trailerEnd(in.unread()) > 0
	}
	return false
}

// need waits until n bytes are buffered.
func (in *reader) need(n int) error {
	for in.buffered() < n {
		if err := in.fill(); err != nil {
			return err
		}
	}
	return nil
}

// readEnd reads the line end after a chunk's data.
func (d *dechunker) readEnd(in *reader) error {
	if err := in.need(2); err != nil {
		return err
	}
	if b := in.unread(); b[0] != '\r' || b[1] != '\n' {
		return malformed("chunk end", string(b[:2]))
	}
	in.r += 2
	d.next = sizeLine
	return nil
}

// readSize reads a chunk's first line.
func (d *dechunker) readSize(in *reader) error {
	i := bytes.IndexByte(in.unread(), '\n')
	for i < 0 {
		if in.buffered() > maxChunkLine {
			return malformed("chunk line too long", "")
		}
		if err := in.fill(); err != nil {
			return err
		}
		i = bytes.IndexByte(in.unread(), '\n')
	}
	line := in.unread()[:i]
	in.r += i + 1
	if i > maxChunkLine {
		return malformed("chunk line too long", "")
	}
	if i == 0 || bytes.IndexByte(line, '\r') != i-1 {
		return malformed("chunk line end", string(line[:min(i, quoteLimit)]))
	}
	size, err := chunkSize(line[:i-1])
	if err != nil {
		return err
	}
	d.excess = max(0, d.excess+int64(i+1)-freeExcess-2*min(size, maxExcess))
	if d.excess > maxExcess {
		return malformed("more chunk overhead than data", "")
	}
	d.left, d.next = size, chunkData
	if size == 0 {
		d.next = trailerPart
	}
	return nil
}

// chunkSize parses a chunk line without its end. Extensions are ignored.
func chunkSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(bytes.TrimRight(line, " \t"), []byte{';'})
	if len(digits) == 0 || len(digits) > 16 {
		return 0, malformed("chunk size", string(digits[:min(len(digits), quoteLimit)]))
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
			return 0, malformed("chunk size", string(digits))
		}
		n = n<<4 | uint64(c)
	}
	if n > math.MaxInt64 {
		return 0, malformed("chunk size", string(digits))
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

// readTrailer reads the trailer section, which must fit an ordinary buffer.
func (d *dechunker) readTrailer(in *reader) error {
	end := trailerEnd(in.unread())
	for end == 0 {
		if in.buffered() >= bufSize {
			return malformed("trailer section too long", "")
		}
		if err := in.fill(); err != nil {
			return err
		}
		end = trailerEnd(in.unread())
	}
	if end > 2 {
		b := in.unread()[:end]
		fields, err := parseHeader(string(b), bytes.Count(b, []byte{'\n'}), d.limits)
		if err != nil {
			return err
		}
		for name, values := range fields {
			if *d.trailer == nil {
				*d.trailer = make(http.Header, len(fields))
			}
			(*d.trailer)[name] = values
		}
	}
	in.r += end
	return nil
}

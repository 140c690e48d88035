package packet

import "errors"

// readerSize is what a Reader begins with: several messages of the usual size.
const readerSize = 16 << 10

// Reader cuts a byte stream into messages. The caller reads from wherever the bytes come:
//
//	for {
//		n, err := stream.Read(r.Space())
//		r.Add(n)
//		for {
//			ok, perr := r.Next(&m)
//			if perr != nil { ... the flow is broken }
//			if !ok { break }
//			... use m, whose Data is valid until the next Space
//		}
//		if err != nil { ... }
//	}
//
// The zero value is ready. It holds at most twice MaxSize bytes, and gives memory that a large message took back as
// soon as the message is used.
type Reader struct {
	buf  []byte
	r, w int
	need int // bytes that the message at r takes, as far as that is known
}

// Space gives room for at least one byte of input. It moves what is left of the last input, so that no message that
// Next gave before may be used any more.
func (r *Reader) Space() []byte {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > readerSize {
			r.buf = nil
		}
	}
	if want := max(r.need, readerSize); len(r.buf) < want {
		grown := make([]byte, want)
		r.w = copy(grown, r.buf[r.r:r.w])
		r.buf, r.r = grown, 0
	} else if r.r > 0 && (r.w == len(r.buf) || r.r+r.need > len(r.buf)) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	return r.buf[r.w:]
}

// Add says that n bytes of the last Space hold input.
func (r *Reader) Add(n int) { r.w += n }

// Next reads the next message into m. It reports false when more input is needed.
func (r *Reader) Next(m *Message) (bool, error) {
	n, err := Parse(r.buf[r.r:r.w], m)
	if errors.Is(err, ErrShort) {
		r.need = n
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.r += n
	r.need = 0
	return true, nil
}

// Partial reports whether a message is incomplete. A stream that ends then was cut.
func (r *Reader) Partial() bool { return r.r < r.w }

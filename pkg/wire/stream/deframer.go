package stream

import "fmt"

// Deframer parses a framed body, which it gets in pieces of any size. It keeps at most one frame header and the trailers,
// never data. The zero value is ready for use. After an error every call fails, and the stream must be reset.
//
// After the stream's FIN, End reports whether the body was complete, and Trailers gives its trailers.
type Deframer struct {
	header   [FrameHeaderSize]byte
	have     int // bytes of header
	left     int // bytes of the current payload still to come
	inData   bool
	payload  []byte // of the trailers, while they come
	trailers []Pair
	ended    bool // by trailers
	err      error
}

// Next parses the beginning of b. It uses the first used bytes, and data is the part of them that belongs to the body. Call
// it until b is used up: it uses at least one byte of a b that is not empty, or gives an error.
func (d *Deframer) Next(b []byte) (data []byte, used int, err error) {
	for used < len(b) {
		if d.err != nil {
			return nil, used, d.err
		}
		if d.inData && d.left > 0 {
			n := min(d.left, len(b)-used)
			d.left -= n
			return b[used : used+n], used + n, nil
		}
		used += d.step(b[used:])
	}
	return nil, used, d.err
}

// step parses bytes of a frame header or of trailers.
func (d *Deframer) step(b []byte) (used int) {
	if d.ended {
		d.err = errFrameAfterEnd
		return 0
	}
	if d.payload != nil {
		used = min(d.left, len(b))
		d.payload = append(d.payload, b[:used]...)
		d.left -= used
		d.endTrailers()
		return used
	}
	used = copy(d.header[d.have:], b)
	if d.have += used; d.have < FrameHeaderSize {
		return used
	}
	d.have = 0
	t, n, err := ParseFrameHeader(d.header[:])
	switch {
	case err != nil:
		d.err = err
	case t == FrameData:
		d.inData, d.left = true, n
	default:
		// Memory grows with the bytes that have arrived, not with the announced size.
		d.inData, d.left, d.payload = false, n, make([]byte, 0, min(n, 512))
		d.endTrailers()
	}
	return used
}

// endTrailers parses the trailers when all their bytes are there.
func (d *Deframer) endTrailers() {
	if d.left > 0 {
		return
	}
	d.trailers, d.err = ParseTrailers(d.payload)
	d.payload, d.ended = nil, true
}

// Strip parses all of p and moves the n bytes of data in it to its front. With an error, the n bytes came before the fault.
func (d *Deframer) Strip(p []byte) (n int, err error) {
	for rest := p; len(rest) > 0; {
		data, used, err := d.Next(rest)
		n += copy(p[n:], data)
		if err != nil {
			return n, err
		}
		rest = rest[used:]
	}
	return n, nil
}

// End gives nil when the body is complete, ErrFrameCut when it ended within a frame, and an earlier error again.
func (d *Deframer) End() error {
	if d.err != nil {
		return d.err
	}
	if d.have > 0 || d.left > 0 {
		return fmt.Errorf("%w: %d bytes of a header, %d of a payload to come", ErrFrameCut, d.have, d.left)
	}
	return nil
}

// Trailers gives the trailers when their frame was parsed; nil without any.
func (d *Deframer) Trailers() []Pair { return d.trailers }

// Ended reports whether the trailers frame was parsed, so that only FIN may follow.
func (d *Deframer) Ended() bool { return d.ended && d.err == nil }

package stream

import "fmt"

// Deframer takes the frames off a body as its bytes come, in pieces of any size. It keeps at most one frame header and the
// trailers, never data. The zero value is ready. An error is for good: the stream is to be reset.
//
// When the stream's FIN came, ask End whether it was in place; Trailers then gives what the body brought.
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

// Next takes in the start of b: used bytes of it, of which data (perhaps none) belong to the body; data is part of b. Call
// it until b is used up. It uses at least one byte of a b that is not empty, or gives an error.
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

// step takes in bytes that are no data: of a header or of trailers.
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
		// The announced size is reserved no further than bytes come: growth is the append's.
		d.inData, d.left, d.payload = false, n, make([]byte, 0, min(n, 512))
		d.endTrailers()
	}
	return used
}

// endTrailers parses the trailers once they are whole.
func (d *Deframer) endTrailers() {
	if d.left > 0 {
		return
	}
	d.trailers, d.err = ParseTrailers(d.payload)
	d.payload, d.ended = nil, true
}

// Strip takes in the whole of p and moves the data in it to its front, where n bytes are. With an error these n bytes
// came before the fault.
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

// End reports whether the body may end here: nil, ErrFrameCut, or the error before.
func (d *Deframer) End() error {
	if d.err != nil {
		return d.err
	}
	if d.have > 0 || d.left > 0 {
		return fmt.Errorf("%w: %d bytes of a header, %d of a payload to come", ErrFrameCut, d.have, d.left)
	}
	return nil
}

// Trailers gives the trailers once their frame was whole; nil without any.
func (d *Deframer) Trailers() []Pair { return d.trailers }

// Ended reports whether the trailers frame was there, so that nothing but FIN may follow.
func (d *Deframer) Ended() bool { return d.ended && d.err == nil }

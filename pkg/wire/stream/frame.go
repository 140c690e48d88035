package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// FrameType is the first byte of a frame of a framed body.
type FrameType uint8

// The frame types. Any other one is an error: a body is framed only for a peer that accepts it, so both ends know all types.
const (
	FrameData     FrameType = 0
	FrameTrailers FrameType = 1
)

// Limits of frames.
const (
	// FrameHeaderSize is the type and the length.
	FrameHeaderSize = 4
	// MaxFrameData is the longest payload of a data frame.
	MaxFrameData = 1<<24 - 1
	// MaxTrailers is the longest payload of a trailers frame.
	MaxTrailers = 64 << 10
	// maxTrailerText is the longest name or value.
	maxTrailerText = 1<<16 - 1
)

// Errors of a framed body. Each of them ends in a reset of the stream.
var (
	errFrameType      = fmt.Errorf("%w: unknown frame type", ErrMalformed)
	errFrameAfterEnd  = fmt.Errorf("%w: bytes after the trailers", ErrMalformed)
	errTrailersLayout = fmt.Errorf("%w: bad trailers", ErrMalformed)
	errTrailersSize   = fmt.Errorf("%w: trailers", ErrTooLarge)
	// ErrFrameCut means that a framed body ended within a frame.
	ErrFrameCut = errors.New("body ends within a frame")
)

// String names the type for logs.
func (t FrameType) String() string {
	switch t {
	case FrameData:
		return "data"
	case FrameTrailers:
		return "trailers"
	default:
		return fmt.Sprintf("FrameType(%d)", uint8(t))
	}
}

// AppendDataHeader appends the header of a data frame of n bytes, which the caller sends next. n is at most MaxFrameData.
func AppendDataHeader(dst []byte, n int) []byte {
	return appendFrameHeader(dst, FrameData, n)
}

func appendFrameHeader(dst []byte, t FrameType, n int) []byte {
	if n < 0 || n > MaxFrameData {
		panic("stream: frame length out of range")
	}
	return append(dst, byte(t), byte(n>>16), byte(n>>8), byte(n))
}

// AppendTrailers appends a complete trailers frame. Names must not be empty. With an error dst is returned unchanged.
func AppendTrailers(dst []byte, trailers []Pair) ([]byte, error) {
	size := 0
	for i := range trailers {
		p := &trailers[i]
		if p.Key == "" {
			return dst, errTrailersLayout
		}
		if len(p.Key) > maxTrailerText || len(p.Val) > maxTrailerText {
			return dst, errTrailersSize
		}
		if size += 4 + len(p.Key) + len(p.Val); size > MaxTrailers {
			return dst, errTrailersSize
		}
	}
	dst = appendFrameHeader(slices.Grow(dst, FrameHeaderSize+size), FrameTrailers, size)
	for i := range trailers {
		dst = appendText(appendText(dst, trailers[i].Key), trailers[i].Val)
	}
	return dst, nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...) // the caller bounds the length
}

// ParseFrameHeader reads the header of a frame: its type and the length of its payload, within the type's limit. It gives
// ErrShort for less than FrameHeaderSize bytes.
func ParseFrameHeader(b []byte) (t FrameType, n int, err error) {
	if len(b) < FrameHeaderSize {
		return 0, 0, ErrShort
	}
	t, n = FrameType(b[0]), int(b[1])<<16|int(b[2])<<8|int(b[3])
	switch {
	case t > FrameTrailers:
		return t, n, fmt.Errorf("%w: %d", errFrameType, b[0])
	case t == FrameTrailers && n > MaxTrailers:
		return t, n, fmt.Errorf("%w: %d bytes", errTrailersSize, n)
	}
	return t, n, nil
}

// ParseTrailers reads the payload of a trailers frame. The texts share one copy of it. It does not check whether names
// and values are valid in a header.
func ParseTrailers(payload []byte) ([]Pair, error) {
	if len(payload) > MaxTrailers {
		return nil, errTrailersSize
	}
	count := 0
	for rest := payload; len(rest) > 0; count++ { // first, so that nothing is allocated for a malformed one
		name, after, err := cutText(rest)
		if err != nil {
			return nil, err
		}
		if len(name) == 0 {
			return nil, errTrailersLayout
		}
		if _, rest, err = cutText(after); err != nil {
			return nil, err
		}
	}
	if count == 0 {
		return nil, nil
	}
	text, pairs, at := string(payload), make([]Pair, count), 0
	next := func() (s string) {
		n := int(binary.BigEndian.Uint16(payload[at:]))
		s = text[at+2 : at+2+n]
		at += 2 + n
		return s
	}
	for i := range pairs {
		pairs[i].Key = next()
		pairs[i].Val = next()
	}
	return pairs, nil
}

// cutText splits off a text with its length before it.
func cutText(b []byte) (text, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errTrailersLayout
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, errTrailersLayout
	}
	return b[2 : 2+n], b[2+n:], nil
}

package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes.
const (
	HeaderSize = 8
	// MaxPayload is the largest payload of a frame.
	MaxPayload = 1<<16 - 1
)

// Type is the type of a frame.
type Type uint8

// The frame types. Values never change.
const (
	Hello  Type = 0
	Open   Type = 1
	Data   Type = 2
	Reset  Type = 3
	Stop   Type = 4
	Credit Type = 5
	Ping   Type = 6
	Pong   Type = 7
	GoAway Type = 8
)

// FlagFIN on a DATA frame ends the direction after its payload.
const FlagFIN uint8 = 0x01

// Errors of parsing. Compare with errors.Is.
var (
	// ErrShort means that more bytes are needed.
	ErrShort = errors.New("incomplete frame")
	// ErrMalformed means that no further bytes can make a frame of the input.
	ErrMalformed = errors.New("malformed frame")
)

// Header is the start of every frame.
type Header struct {
	Type   Type
	Flags  uint8
	Length uint16
	Stream uint32
}

// FIN reports whether the frame ends its direction.
func (h Header) FIN() bool { return h.Flags&FlagFIN != 0 }

// Put writes h into the first HeaderSize bytes of b.
func (h Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	b[0] = byte(h.Type)
	b[1] = h.Flags
	binary.BigEndian.PutUint16(b[2:], h.Length)
	binary.BigEndian.PutUint32(b[4:], h.Stream)
}

// Append appends h.
func (h Header) Append(dst []byte) []byte {
	var b [HeaderSize]byte
	h.Put(b[:])
	return append(dst, b[:]...)
}

// ParseHeader reads the header at the start of b.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrShort
	}
	h := Header{
		Type:   Type(b[0]),
		Flags:  b[1],
		Length: binary.BigEndian.Uint16(b[2:]),
		Stream: binary.BigEndian.Uint32(b[4:]),
	}
	if h.Type > GoAway {
		return Header{}, fmt.Errorf("type %d: %w", h.Type, ErrMalformed)
	}
	return h, nil
}

// AppendData appends a DATA frame; p has at most MaxPayload bytes.
func AppendData(dst []byte, stream uint32, p []byte, fin bool) []byte {
	h := Header{Type: Data, Length: uint16(len(p)), Stream: stream}
	if fin {
		h.Flags = FlagFIN
	}
	return append(h.Append(dst), p...)
}

// AppendCode appends a RESET, STOP or CREDIT frame.
func AppendCode(dst []byte, t Type, stream, code uint32) []byte {
	dst = Header{Type: t, Length: 4, Stream: stream}.Append(dst)
	return binary.BigEndian.AppendUint32(dst, code)
}

// ParseCode reads the payload of RESET, STOP or CREDIT.
func ParseCode(b []byte) (uint32, error) {
	if len(b) < 4 {
		return 0, fmt.Errorf("code of %d bytes: %w", len(b), ErrMalformed)
	}
	return binary.BigEndian.Uint32(b), nil
}

// PingSize is the size of the payload of PING and PONG.
const PingSize = 8

// AppendPing appends a PING or PONG frame.
func AppendPing(dst []byte, t Type, token [PingSize]byte) []byte {
	return append(Header{Type: t, Length: PingSize}.Append(dst), token[:]...)
}

// ParsePing reads the payload of PING or PONG.
func ParsePing(b []byte) ([PingSize]byte, error) {
	var t [PingSize]byte
	if copy(t[:], b) < PingSize {
		return t, fmt.Errorf("ping of %d bytes: %w", len(b), ErrMalformed)
	}
	return t, nil
}

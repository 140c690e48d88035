package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcode is the type of a frame.
type Opcode uint8

// The opcodes of RFC 6455 5.2.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// IsControl reports whether the opcode is one of a control frame.
func (o Opcode) IsControl() bool { return o&8 != 0 }

func (o Opcode) known() bool { return o <= Binary || o >= Close && o <= Pong }

// Sizes of the protocol.
const (
	// MaxHeader is the size of the largest frame header.
	MaxHeader = 14
	// MaxControl bounds the payload of a control frame.
	MaxControl = 125
)

const (
	bitFin       = 0x80
	bitsReserved = 0x70
	bitsOpcode   = 0x0f
	bitMask      = 0x80
	bitsLength   = 0x7f

	length16  = 126
	length64  = 127
	sizeFixed = 2
	sizeKey   = 4
)

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort means that b ends before the header does: read more and parse again.
	ErrShort = errors.New("more bytes needed")
	// ErrProtocol means that the peer violates the protocol. The response is a close frame with CodeProtocol.
	ErrProtocol = errors.New("websocket protocol error")
)

func violation(text string) error { return fmt.Errorf("%w: %s", ErrProtocol, text) }

// Header is the header of a frame.
type Header struct {
	Fin    bool
	Opcode Opcode
	Masked bool
	Key    [4]byte
	Length uint64
}

// Append appends the header to dst.
func (h Header) Append(dst []byte) []byte {
	first, second := byte(h.Opcode), byte(0)
	if h.Fin {
		first |= bitFin
	}
	if h.Masked {
		second = bitMask
	}
	switch {
	case h.Length < length16:
		dst = append(dst, first, second|byte(h.Length))
	case h.Length <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, first, second|length16), uint16(h.Length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, second|length64), h.Length)
	}
	if h.Masked {
		dst = append(dst, h.Key[:]...)
	}
	return dst
}

// ParseHeader reads the header at the start of b and gives its size. Violations in the first
// two bytes are reported before the rest is there.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < sizeFixed {
		return Header{}, 0, ErrShort
	}
	h = Header{Fin: b[0]&bitFin != 0, Opcode: Opcode(b[0] & bitsOpcode), Masked: b[1]&bitMask != 0}
	short := b[1] & bitsLength
	switch {
	case b[0]&bitsReserved != 0:
		return Header{}, 0, violation("reserved bit set")
	case !h.Opcode.known():
		return Header{}, 0, violation("unknown opcode")
	case h.Opcode.IsControl() && !h.Fin:
		return Header{}, 0, violation("fragmented control frame")
	case h.Opcode.IsControl() && short > MaxControl:
		return Header{}, 0, violation("control frame too long")
	}
	n = sizeFixed
	switch short {
	case length16:
		n += 2
	case length64:
		n += 8
	}
	key := n
	if h.Masked {
		n += sizeKey
	}
	if len(b) < n {
		return Header{}, 0, ErrShort
	}
	switch short {
	case length16:
		h.Length = uint64(binary.BigEndian.Uint16(b[sizeFixed:]))
	case length64:
		h.Length = binary.BigEndian.Uint64(b[sizeFixed:])
	default:
		h.Length = uint64(short)
	}
	if h.Length>>63 != 0 {
		return Header{}, 0, violation("length out of range")
	}
	if h.Masked {
		h.Key = [4]byte(b[key:n])
	}
	return h, n, nil
}

// Mask XORs b with the key, in place; offset is the position of b's first byte in the payload. Masking twice undoes it.
func Mask(b []byte, key [4]byte, offset uint64) {
	var k [8]byte
	for i := range k {
		k[i] = key[(offset+uint64(i))&3]
	}
	word := binary.LittleEndian.Uint64(k[:])
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= k[i]
	}
}

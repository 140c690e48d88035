package frame

import (
	"encoding/binary"
	"fmt"
)

// Version is the version of the link protocol of this package.
const Version = 1

// MaxInstance is the longest instance id.
const MaxInstance = 64

const helloFixed = 16

// Mode is how flows share a connection.
type Mode uint8

// The modes of a connection.
const (
	// Exclusive is one flow at a time.
	Exclusive Mode = 0
	// Shared is many flows with credit.
	Shared Mode = 1
)

// Feature bits of HELLO. Values never change, and a receiver ignores bits that it does not know.
const (
	// FeatureRepeat announces that a proxy aborts the repeat of a request unless the request is safe (OpenInfo.Repeat).
	FeatureRepeat uint64 = 1 << 0
)

// HelloInfo is the payload of HELLO, the first frame each way.
type HelloInfo struct {
	Version  uint8
	Mode     Mode
	MaxFrame uint16
	Credit   uint32
	Features uint64
	// Instance distinguishes this process from its predecessor at the same endpoint.
	Instance string
}

// AppendHello appends a HELLO frame. An instance id that is too long is cut.
func AppendHello(dst []byte, h HelloInfo) []byte {
	id := h.Instance[:min(len(h.Instance), MaxInstance)]
	dst = Header{Type: Hello, Length: uint16(helloFixed + len(id))}.Append(dst)
	dst = append(dst, h.Version, byte(h.Mode))
	dst = binary.BigEndian.AppendUint16(dst, h.MaxFrame)
	dst = binary.BigEndian.AppendUint32(dst, h.Credit)
	dst = binary.BigEndian.AppendUint64(dst, h.Features)
	return append(dst, id...)
}

// ParseHello reads the payload of HELLO. The caller must check version and mode.
func ParseHello(b []byte) (HelloInfo, error) {
	if len(b) < helloFixed || len(b) > helloFixed+MaxInstance {
		return HelloInfo{}, fmt.Errorf("hello of %d bytes: %w", len(b), ErrMalformed)
	}
	return HelloInfo{
		Version:  b[0],
		Mode:     Mode(b[1]),
		MaxFrame: binary.BigEndian.Uint16(b[2:]),
		Credit:   binary.BigEndian.Uint32(b[4:]),
		Features: binary.BigEndian.Uint64(b[8:]),
		Instance: string(b[helloFixed:]),
	}, nil
}

// GoAwayInfo is the payload of GOAWAY.
type GoAwayInfo struct {
	// Last is the highest stream id that is still served.
	Last   uint32
	Reason uint32
}

// Reasons of GOAWAY.
const (
	GoAwayDrain   uint32 = 0
	GoAwayVersion uint32 = 1
)

// AppendGoAway appends a GOAWAY frame.
func AppendGoAway(dst []byte, g GoAwayInfo) []byte {
	dst = Header{Type: GoAway, Length: 8}.Append(dst)
	dst = binary.BigEndian.AppendUint32(dst, g.Last)
	return binary.BigEndian.AppendUint32(dst, g.Reason)
}

// ParseGoAway reads the payload of GOAWAY.
func ParseGoAway(b []byte) (GoAwayInfo, error) {
	if len(b) < 8 {
		return GoAwayInfo{}, fmt.Errorf("goaway of %d bytes: %w", len(b), ErrMalformed)
	}
	return GoAwayInfo{Last: binary.BigEndian.Uint32(b), Reason: binary.BigEndian.Uint32(b[4:])}, nil
}

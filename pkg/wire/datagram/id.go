package datagram

import (
	"encoding/hex"
	"errors"
)

// IDSize is the size of a session id on the wire.
const IDSize = 16

// ID names a UDP session: a UUID in version 2, 16 opaque bytes in version 3.
type ID [IDSize]byte

// String is the form for logs: 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort says that a datagram ends before what it must hold.
	ErrShort = errors.New("datagram too short")
	// ErrTooLarge says that a part of a datagram is over its limit.
	ErrTooLarge = errors.New("datagram too large")
	// ErrUnknownType says that the datagram's type is none that we know.
	ErrUnknownType = errors.New("unknown datagram type")
	// ErrAddress says that a destination is no address that the wire can carry.
	ErrAddress = errors.New("not an address for a datagram")
)

// MaxPayload is the largest UDP payload that goes towards the edge in either version, and the largest in either
// direction in version 3.
const MaxPayload = 1280

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
	// ErrShort means that a datagram ends too early.
	ErrShort = errors.New("datagram too short")
	// ErrTooLarge means that a part of a datagram exceeds its limit.
	ErrTooLarge = errors.New("datagram too large")
	// ErrUnknownType means that the type of the datagram is unknown.
	ErrUnknownType = errors.New("unknown datagram type")
	// ErrAddress means that a destination is not a valid address.
	ErrAddress = errors.New("not an address for a datagram")
	// ErrFragment says that a fragment cannot be a part of any payload.
	ErrFragment = errors.New("impossible fragment")
)

// MaxPayload is the largest UDP payload of one datagram that goes towards the edge in either version, and the largest in either
// direction in version 3.
const MaxPayload = 1280

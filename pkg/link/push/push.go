package push

import (
	"encoding/binary"
	"errors"
)

const versionSize = 4

// What a reader takes at most.
const (
	MaxRequest = 16 << 20
	MaxAnswer  = 64 << 10
)

// ErrShort says that a message has no whole version.
var ErrShort = errors.New("push: message without a version")

// Request is one configuration.
type Request struct {
	Version int32
	Config  []byte
}

// Append writes the request.
func (r Request) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Version)) //nolint:gosec // the same bits
	return append(dst, r.Config...)
}

// ParseRequest reads a whole request; Config is a part of b.
func ParseRequest(b []byte) (Request, error) {
	if len(b) < versionSize {
		return Request{}, ErrShort
	}
	return Request{Version: int32(binary.BigEndian.Uint32(b)), Config: b[versionSize:]}, nil //nolint:gosec // the same bits
}

// Answer says what became of a request.
type Answer struct {
	// Applied is the version in force, also after an error.
	Applied int32
	// Error is empty after a success.
	Error string
}

// Append writes the answer; a text that a reader would not take is cut.
func (a Answer) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(a.Applied)) //nolint:gosec // the same bits
	return append(dst, a.Error[:min(len(a.Error), MaxAnswer-versionSize)]...)
}

// ParseAnswer reads a whole answer.
func ParseAnswer(b []byte) (Answer, error) {
	if len(b) < versionSize {
		return Answer{}, ErrShort
	}
	return Answer{Applied: int32(binary.BigEndian.Uint32(b)), Error: string(b[versionSize:])}, nil //nolint:gosec // the same bits
}

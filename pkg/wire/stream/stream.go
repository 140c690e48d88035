package stream

import (
	"errors"
	"fmt"
)

// Sizes of the first bytes of a stream.
const (
	SignatureSize = 6
	VersionSize   = 2
	// PrologueSize is what precedes the message of a data stream.
	PrologueSize = SignatureSize + VersionSize
)

const (
	dataSignature = "\x0a\x36\xcd\x12\xa1\x3e"
	rpcSignature  = "\x52\xbb\x82\x5c\xdb\x65"
	version       = "01"
)

// RPCSignature starts an edge-opened RPC stream, or the connector's own one; RPC messages follow at once.
const RPCSignature = rpcSignature

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort means that b ends before the message does: read more and parse again.
	ErrShort = errors.New("more bytes needed")
	// ErrUnknownSignature means that the kind of the stream is unknown.
	ErrUnknownSignature = errors.New("unknown stream signature")
	// ErrTooLarge means that the message is larger than the limit.
	ErrTooLarge = errors.New("message too large")
	// ErrMalformed means that the bytes are not a valid message.
	ErrMalformed = errors.New("malformed message")
	// ErrUnknownType says that the request is well formed but its type is unknown; the connector
	// responds with an error.
	ErrUnknownType = errors.New("unknown connection type")
)

// Kind tells what follows a signature.
type Kind int

// The kinds of streams.
const (
	KindData Kind = iota + 1
	KindRPC
)

// String names the kind for logs.
func (k Kind) String() string {
	switch k {
	case KindData:
		return "data"
	case KindRPC:
		return "rpc"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// Detect tells the kind of a stream from its first SignatureSize bytes. It returns ErrShort while b could still become
// a known signature, and ErrUnknownSignature as soon as it cannot.
func Detect(b []byte) (Kind, error) {
	switch n := min(len(b), SignatureSize); {
	case string(b[:n]) == dataSignature[:n]:
		if n < SignatureSize {
			return 0, ErrShort
		}
		return KindData, nil
	case string(b[:n]) == rpcSignature[:n]:
		if n < SignatureSize {
			return 0, ErrShort
		}
		return KindRPC, nil
	default:
		return 0, ErrUnknownSignature
	}
}

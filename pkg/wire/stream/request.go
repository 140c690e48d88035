package stream

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Type is the kind of a request.
type Type uint16

// The request types of docs/spec/wire.md 5.3.
const (
	HTTP      Type = 0
	WebSocket Type = 1
	TCP       Type = 2
)

func (t Type) known() bool { return t <= TCP }

// String names the type for logs.
func (t Type) String() string {
	switch t {
	case HTTP:
		return "http"
	case WebSocket:
		return "websocket"
	case TCP:
		return "tcp"
	default:
		return "type " + strconv.Itoa(int(t))
	}
}

// Metadata keys (docs/spec/wire.md 5.3 and 5.4).
const (
	KeyMethod      = "HttpMethod"
	KeyHost        = "HttpHost"
	KeyStatus      = "HttpStatus"
	KeyFlowLimited = "FlowConnectRateLimited"
	// HeaderPrefix precedes the header name in a key; one entry per value.
	HeaderPrefix = "HttpHeader:"
)

// Pair is one metadata entry. Values are bytes of any encoding, without a zero byte at the end.
type Pair struct{ Key, Val string }

// Request is the ConnectRequest, the edge's first message on a data stream.
type Request struct {
	Dest     string
	Type     Type
	Metadata []Pair
}

// requestDataWords is the size of ConnectRequest's data section: the type, in the low 16 bits.
const requestDataWords = 1

// Append appends prologue and message to dst. An unknown type is an error: it would crash the reference.
func (r *Request) Append(dst []byte) ([]byte, error) {
	if !r.Type.known() {
		return dst, fmt.Errorf("%w: %d", ErrUnknownType, uint16(r.Type))
	}
	out, root, err := appendMessage(dst, requestDataWords, r.Dest, r.Metadata)
	if err != nil {
		return dst, fmt.Errorf("connect request: %w", err)
	}
	binary.LittleEndian.PutUint16(out[root:], uint16(r.Type))
	return out, nil
}

// ParseRequest reads prologue and message from b into r and returns the number of bytes they take; the rest of b is
// the request's body. The strings of r share one copy of the message and none of b's memory; r.Metadata's array is
// reused. With ErrUnknownType r and n are valid. With ErrShort n is a lower bound of the bytes needed. With any error
// but ErrUnknownType r is unspecified.
func ParseRequest(b []byte, r *Request) (n int, err error) {
	return ParseRequestLimit(b, r, MaxMessage)
}

// ParseRequestLimit is ParseRequest with another limit than MaxMessage, in bytes without the prologue.
func ParseRequestLimit(b []byte, r *Request, limit int) (n int, err error) {
	m, n, err := open(b, limit)
	if err != nil {
		return n, err
	}
	root, err := m.root()
	if err != nil {
		return 0, fmt.Errorf("connect request: %w", err)
	}
	r.Type = 0
	if root.data >= requestDataWords {
		r.Type = Type(m.word(root.at))
	}
	if r.Dest, err = m.text(root, 0); err != nil {
		return 0, fmt.Errorf("connect request: dest: %w", err)
	}
	if r.Metadata, err = m.pairs(root, 1, r.Metadata); err != nil {
		return 0, fmt.Errorf("connect request: metadata: %w", err)
	}
	if !r.Type.known() {
		return n, fmt.Errorf("%w: %d", ErrUnknownType, uint16(r.Type))
	}
	return n, nil
}

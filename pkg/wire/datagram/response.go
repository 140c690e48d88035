package datagram

import (
	"encoding/binary"
	"fmt"
)

// Result is the result of a registration.
type Result uint8

// The results.
const (
	ResultOK          Result = 0x00
	ResultUnreachable Result = 0x01
	// ResultNoSocket means that no socket could be opened.
	ResultNoSocket Result = 0x02
	// ResultTooManyFlows means that the limit of active flows is reached.
	ResultTooManyFlows Result = 0x03
	// ResultError is any other refusal; the text says which.
	ResultError Result = 0xff
)

// String names the result for logs and metrics; the set of names is bounded.
func (r Result) String() string {
	switch r {
	case ResultOK:
		return "ok"
	case ResultUnreachable:
		return "unreachable"
	case ResultNoSocket:
		return "no_socket"
	case ResultTooManyFlows:
		return "too_many_flows"
	case ResultError:
		return "error"
	default:
		return "unknown"
	}
}

// Response is the response to a registration.
type Response struct {
	ID     ID
	Result Result
	Text   string
}

// Append adds the datagram to dst.
func (r *Response) Append(dst []byte) ([]byte, error) {
	if len(r.Text) > V3MaxText {
		return dst, fmt.Errorf("text of %d bytes: %w", len(r.Text), ErrTooLarge)
	}
	dst = append(dst, byte(V3Response), byte(r.Result))
	dst = append(dst, r.ID[:]...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Text)))
	return append(dst, r.Text...), nil
}

// ParseResponse reads a response. Bytes after the stated length of the text are ignored.
func ParseResponse(b []byte) (Response, error) {
	if err := expect(b, V3Response, responseHeader); err != nil {
		return Response{}, err
	}
	n := int(binary.BigEndian.Uint16(b[responseHeader-2:]))
	text := b[responseHeader:]
	switch {
	case n > V3MaxText:
		return Response{}, fmt.Errorf("text of %d bytes: %w", n, ErrTooLarge)
	case n > len(text):
		return Response{}, fmt.Errorf("text of %d bytes, want %d: %w", len(text), n, ErrShort)
	}
	return Response{Result: Result(b[1]), ID: ID(b[2 : responseHeader-2]), Text: string(text[:n])}, nil
}

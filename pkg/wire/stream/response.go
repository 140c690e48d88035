package stream

import "fmt"

// Response is the ConnectResponse, the connector's first message on a data stream. A non-empty Error means that the request
// failed.
type Response struct {
	Error    string
	Metadata []Pair
}

// Append appends prologue and message to dst.
func (r *Response) Append(dst []byte) ([]byte, error) {
	out, _, err := appendMessage(dst, 0, r.Error, r.Metadata)
	if err != nil {
		return dst, fmt.Errorf("connect response: %w", err)
	}
	return out, nil
}

// ParseResponse reads prologue and message from b into r and returns the number of bytes they take; the rest of b is
// the response's body. The strings of r share one copy of the message and none of b's memory; r.Metadata's array is
// reused. With ErrShort n is a lower bound of the bytes needed. With an error r is unspecified.
func ParseResponse(b []byte, r *Response) (n int, err error) {
	return ParseResponseLimit(b, r, MaxMessage)
}

// ParseResponseLimit is ParseResponse with another limit than MaxMessage, in bytes without the prologue.
func ParseResponseLimit(b []byte, r *Response, limit int) (n int, err error) {
	m, n, err := open(b, limit)
	if err != nil {
		return n, err
	}
	root, err := m.root()
	if err != nil {
		return 0, fmt.Errorf("connect response: %w", err)
	}
	if r.Error, err = m.text(root, 0); err != nil {
		return 0, fmt.Errorf("connect response: error text: %w", err)
	}
	if r.Metadata, err = m.pairs(root, 1, r.Metadata); err != nil {
		return 0, fmt.Errorf("connect response: metadata: %w", err)
	}
	return n, nil
}

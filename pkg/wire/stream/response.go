package stream

// Response is what the connector says first on a data stream. A non-empty Error means that the request failed.
type Response struct {
	Error    string
	Metadata []Pair
}

// Append appends prologue and message to dst.
func (r *Response) Append(dst []byte) ([]byte, error) { return dst, ErrMalformed }

// ParseResponse reads prologue and message from b into r and returns the number of bytes they take; the rest of b is
// the response's body. The strings of r share one copy of the message and none of b's memory; r.Metadata's array is
// reused. With an error r is unspecified.
func ParseResponse(b []byte, r *Response) (n int, err error) { return 0, ErrMalformed }

// ParseResponseLimit is ParseResponse with another limit than MaxMessage.
func ParseResponseLimit(b []byte, r *Response, limit int) (n int, err error) { return 0, ErrMalformed }

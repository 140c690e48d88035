package stream

// Type is the kind of a request.
type Type uint16

// The request types of spec/wire.md 5.3.
const (
	HTTP      Type = 0
	WebSocket Type = 1
	TCP       Type = 2
)

// Metadata keys (spec/wire.md 5.3 and 5.4).
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

// Request is what the edge says first on a data stream.
type Request struct {
	Dest     string
	Type     Type
	Metadata []Pair
}

// Append appends prologue and message to dst.
func (r *Request) Append(dst []byte) ([]byte, error) { return dst, ErrMalformed }

// ParseRequest reads prologue and message from b into r and returns the number of bytes they take; the rest of b is
// the request's body. The strings of r share one copy of the message and none of b's memory; r.Metadata's array is
// reused. With ErrUnknownType r and n are valid, with every other error r is unspecified.
func ParseRequest(b []byte, r *Request) (n int, err error) { return 0, ErrMalformed }

// ParseRequestLimit is ParseRequest with another limit than MaxMessage.
func ParseRequestLimit(b []byte, r *Request, limit int) (n int, err error) { return 0, ErrMalformed }

package h1guard

// Reason says why a connection was refused.
type Reason uint8

// The reasons.
const (
	RequestLine Reason = iota + 1
	Target
	Version
	FieldName
	FieldValue
	Folded
	LineEnd
	ContentLength
	TransferEncoding
	TwoLengths
	Host
	Chunk
	Trailers
	UpgradeBody
	TargetLength
	FieldCount
	FieldBytes
	reasons // how many there are, and one
)

//nolint:gochecknoglobals // a table that nothing changes
var reasonNames = [reasons]string{
	RequestLine: "request_line", Target: "target", Version: "version", FieldName: "field_name", FieldValue: "field_value",
	Folded: "folded_line", LineEnd: "line_end", ContentLength: "content_length", TransferEncoding: "transfer_encoding",
	TwoLengths: "two_lengths", Host: "host", Chunk: "chunk", Trailers: "trailers", UpgradeBody: "upgrade_body",
	TargetLength: "target_length", FieldCount: "field_count", FieldBytes: "field_bytes",
}

// String names the reason for metrics and logs.
func (r Reason) String() string {
	if r == 0 || r >= reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons lists all reasons.
func Reasons() []Reason {
	out := make([]Reason, 0, reasons-1)
	for r := RequestLine; r < reasons; r++ {
		out = append(out, r)
	}
	return out
}

// Status is the status code for a request that is refused for this reason.
func (r Reason) Status() int {
	switch r {
	case TargetLength:
		return statusURITooLong
	case FieldCount, FieldBytes:
		return statusFieldsTooLarge
	default:
		return statusBadRequest
	}
}

// The status codes.
const (
	statusBadRequest     = 400
	statusURITooLong     = 414
	statusFieldsTooLarge = 431
)

// RefusedError is the error of bytes that are not let through.
type RefusedError struct {
	Reason Reason
	// Phase is Head or Body: whether the server has the request already.
	Phase Phase
}

// Error names the reason.
func (r *RefusedError) Error() string { return "request refused: " + r.Reason.String() }

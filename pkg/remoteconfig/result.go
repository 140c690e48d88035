package remoteconfig

import (
	"encoding/binary"
	"errors"
)

// RejectedError says that the receiver of an update refused the document. Sending it again is useless.
type RejectedError struct {
	// Reason is the receiver's text.
	Reason string
}

// Error includes the reason.
func (e *RejectedError) Error() string { return "configuration rejected: " + e.Reason }

// Reject makes a *RejectedError with the text of err, or returns nil when err is nil.
func Reject(err error) error {
	if err == nil {
		return nil
	}
	return &RejectedError{Reason: err.Error()}
}

// Result is the response to an update.
type Result struct {
	// Applied is the version in force, also after a rejection.
	Applied int32
	// Rejection is empty when the update, or a newer one, is in force.
	Rejection string
}

// ResultOf makes the response from the return values of Apply. It reports false when err leaves the result unknown: then
// there is no response to send.
func ResultOf(applied int32, err error) (Result, bool) {
	if err == nil {
		return Result{Applied: applied}, true
	}
	var rejected *RejectedError
	if !errors.As(err, &rejected) {
		return Result{}, false
	}
	r := Result{Applied: applied, Rejection: rejected.Reason}
	if r.Rejection == "" {
		r.Rejection = "no reason given" // an empty text would mean success
	}
	return r, true
}

// Unpack gives the return values of Apply for an update with the given version. A response without an error that names an
// older version is a rejection as well: the update is not in force.
func (r Result) Unpack(version int32) (applied int32, err error) {
	switch {
	case r.Rejection != "":
		return r.Applied, &RejectedError{Reason: r.Rejection}
	case r.Applied < version:
		return r.Applied, &RejectedError{Reason: "an older version stays in force"}
	default:
		return r.Applied, nil
	}
}

// Append appends the form on the link: the version in force as 4 bytes, big-endian, then the rejection. A message longer than
// MaxResult is truncated.
func (r Result) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Applied))
	return append(dst, r.Rejection[:min(len(r.Rejection), MaxResult-versionSize)]...)
}

// ParseResult parses a whole response from the link. The error is ErrMalformed.
func ParseResult(b []byte) (Result, error) {
	if len(b) < versionSize {
		return Result{}, ErrMalformed
	}
	return Result{Applied: int32(binary.BigEndian.Uint32(b)), Rejection: string(b[versionSize:])}, nil
}

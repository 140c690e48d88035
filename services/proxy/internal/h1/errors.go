package h1

import (
	"errors"
	"fmt"
)

var (
	errHeadTooLarge  = errors.New("response head too large")
	errBodyClosed    = errors.New("read of a closed response body")
	errBufferFull    = errors.New("buffer full")
	errUploadStopped = errors.New("request body abandoned")
)

// malformedError is a response that is not HTTP/1.x.
type malformedError struct{ what, text string }

func (e *malformedError) Error() string {
	if e.text == "" {
		return "malformed HTTP response: " + e.what
	}
	return fmt.Sprintf("malformed HTTP response: %s: %q", e.what, e.text)
}

// quoteLimit bounds what of a response is quoted in an error.
const quoteLimit = 80

func malformed(what, text string) error {
	return &malformedError{what: what, text: text[:min(len(text), quoteLimit)]}
}

// headTimeoutError says that the response's head did not come in time. It is a net.Error.
type headTimeoutError struct{}

func (headTimeoutError) Error() string   { return "timeout awaiting response headers" }
func (headTimeoutError) Timeout() bool   { return true }
func (headTimeoutError) Temporary() bool { return true }

// lengthError is a request body that does not have its declared length.
type lengthError struct{ declared, sent int64 }

func (e *lengthError) Error() string {
	return fmt.Sprintf("request body of %d bytes, %d declared", e.sent, e.declared)
}

package h1

import (
	"errors"
	"fmt"
)

var (
	errBodyClosed    = errors.New("read of a closed response body")
	errBufferFull    = errors.New("buffer full")
	errUploadStopped = errors.New("request body abandoned")
)

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

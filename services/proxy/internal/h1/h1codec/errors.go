package h1codec

import (
	"errors"
	"fmt"
)

// ErrHeadTooLarge says that a response head exceeds its limit.
var ErrHeadTooLarge = errors.New("response head too large")

// MalformedError is a response that is not HTTP/1.x.
type MalformedError struct{ what, text string }

// Error quotes a part of the response.
func (e *MalformedError) Error() string {
	if e.text == "" {
		return "malformed HTTP response: " + e.what
	}
	return fmt.Sprintf("malformed HTTP response: %s: %q", e.what, e.text)
}

// quoteLimit bounds what of a response is quoted in an error.
const quoteLimit = 80

// Malformed makes the error for a response in which text is no what.
func Malformed(what, text string) error {
	return &MalformedError{what: what, text: text[:min(len(text), quoteLimit)]}
}

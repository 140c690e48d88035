package transport

import (
	"errors"
	"fmt"
)

// Errors of every adapter. Compare with errors.Is.
var (
	// ErrReset matches every StreamError.
	ErrReset = errors.New("stream reset")
	// ErrDatagramTooLarge means that a datagram does not fit one packet of the path.
	ErrDatagramTooLarge = errors.New("datagram does not fit a packet")
	// ErrDatagramUnsupported means that the transport has no datagrams.
	ErrDatagramUnsupported = errors.New("the transport carries no datagrams")
)

// StreamError means that one direction of a stream was reset while its session goes on.
type StreamError struct {
	Code Code
	// Remote is true for a reset by the peer, and false for one of our own.
	Remote bool
}

// Error says which end reset the stream.
func (e *StreamError) Error() string {
	if e.Remote {
		return fmt.Sprintf("stream reset by the peer with code %d", e.Code)
	}
	return fmt.Sprintf("stream cancelled with code %d", e.Code)
}

// Is reports whether target is ErrReset.
func (e *StreamError) Is(target error) bool { return target == ErrReset }

package h2

import "errors"

// ErrPushRefused says that the connector answered a push, and did not apply it.
var ErrPushRefused = errors.New("configuration refused")

var (
	errControlRefused = errors.New("control stream refused by the connector")
	errTooShort       = errors.New("body is shorter than declared")
	errNoRequest      = errors.New("stream ended before its request")
	errNoAnswer       = errors.New("stream ended before its answer")
	errStatus         = errors.New("answer has no valid status")
	errPushAnswer     = errors.New("answer to a configuration is malformed")
	errNotEdge        = errors.New("only the edge pushes configurations")
)

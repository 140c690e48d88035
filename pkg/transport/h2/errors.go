package h2

import "errors"

// ErrPushRefused means that the connector responded to a configuration push and did not apply it.
var ErrPushRefused = errors.New("configuration refused")

var (
	errControlRefused = errors.New("control stream refused by the connector")
	errTooShort       = errors.New("body is shorter than its declared length")
	errNoRequest      = errors.New("stream ended before its request")
	errNoResponse     = errors.New("stream ended before its response")
	errPushResponse   = errors.New("response to a configuration push is malformed")
	errNotEdge        = errors.New("only the edge can push a configuration")
)

package h2

import "errors"

var (
	errControlRefused = errors.New("control stream refused by the connector")
	errTooShort       = errors.New("body is shorter than declared")
	errNoRequest      = errors.New("stream ended before its request")
	errNoAnswer       = errors.New("stream ended before its answer")
	errStatus         = errors.New("answer has no valid status")
	errPushRefused    = errors.New("configuration refused")
	errPushAnswer     = errors.New("answer to a configuration is malformed")
	errNotEdge        = errors.New("only the edge pushes configurations")
)

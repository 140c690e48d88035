package h2

import "errors"

var (
	errControlRefused = errors.New("control stream refused by the connector")
	errTooShort       = errors.New("body is shorter than its declared length")
	errNoRequest      = errors.New("stream ended before its request")
	errNoResponse     = errors.New("stream ended before its response")
	errNotEdge        = errors.New("only the edge can push a configuration")
)

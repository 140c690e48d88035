package dispatch

import (
	"errors"
	"os"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Kind says why a request got no response.
type Kind uint8

// The kinds of failures.
const (
	// NoConnection: the tunnel has no connection, or no other one.
	NoConnection Kind = iota
	// Busy: the connection carries as many requests as this edge allows.
	Busy
	// TooLarge: the head of the request exceeds a limit.
	TooLarge
	// Lost: the connection was lost before a response.
	Lost
	// Timeout: there was no response in time.
	Timeout
	// Malformed: what came is not a response.
	Malformed
	// FlowLimited: the connector carries as many flows as it accepts.
	FlowLimited
	// Refused: the connector reports an error. Status has what it states about it.
	Refused
	// Canceled: the visitor left, or the edge stops.
	Canceled
)

// Failure says why a request got no response.
type Failure struct {
	Kind Kind
	// Status is the status that a connector of ours states beside its error, or "".
	Status string
	// Detail is for logs; it may hold internal addresses.
	Detail string
	// Retry says that another connection may be tried.
	Retry bool
}

// ErrResponse says that a connector's response is not one.
var ErrResponse = errors.New("malformed response")

// NoResponse makes the failure for an error of reading the head of a response. repeatable says that the request may be sent
// again though an origin may have seen it.
func NoResponse(err error, repeatable bool) *Failure {
	f := &Failure{Kind: Malformed, Detail: err.Error()}
	var lost *tunnel.ConnError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.Kind = Timeout
	case errors.As(err, &lost), errors.Is(err, ErrDoubt):
		f.Kind, f.Retry = Lost, repeatable
	}
	return f
}

// statusUnavailable is the status by which our connectors state that no origin has seen the request.
const statusUnavailable = "503"

// RefusalOf makes the failure for a response with the connector's own error (docs/spec/wire.md 5.4), and nil for any other
// response. bodySent says that a part of the request's body was sent, so that it cannot be sent again.
func RefusalOf(r *stream.Response, bodySent bool) *Failure {
	if r.Error == "" {
		return nil
	}
	f := &Failure{Kind: Refused, Detail: r.Error}
	if val, _ := stream.Lookup(r.Metadata, stream.KeyFlowLimited); val == "true" {
		f.Kind = FlowLimited
	}
	f.Status, _ = stream.Lookup(r.Metadata, stream.KeyStatus)
	f.Retry = !bodySent && (f.Kind == FlowLimited || f.Status == statusUnavailable)
	return f
}

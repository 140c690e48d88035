package link

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Kind is the protocol of the bytes of a flow.
type Kind uint8

// The kinds of flows. Values travel in the OPEN frame and never change.
const (
	// KindStream is a data stream of the edge: prologue and ConnectRequest first (docs/spec/wire.md 5.2, 5.3).
	KindStream Kind = 0
	// KindDatagrams is a long-lived flow between one session of a worker and one proxy, which carries messages both ways
	// (package packet).
	KindDatagrams Kind = 1
	// KindConfig is one configuration that the edge pushed: version and JSON. The response is the version in force and an
	// error text.
	KindConfig Kind = 2
)

// Meta describes a flow to the proxy. It travels in the OPEN frame.
type Meta struct {
	Kind      Kind
	Tunnel    tunnel.ID
	Connector tunnel.ConnectorID
	Index     tunnel.ConnIndex
	// Repeat says that another proxy was given the same request and was lost before it responded, so the origin may have
	// seen the request. The handler must abort the flow unless it is an HTTP request without body whose method is safe
	// (RFC 9110 9.2.1). Only a Balancer sets it, and only for a server with ServerConfig.SafeRepeats.
	Repeat bool
}

// EdgeStream is the part of transport.Stream that carriers use.
type EdgeStream interface {
	io.Reader
	io.Writer
	// CloseWrite sends FIN.
	CloseWrite() error
	Canceler
	// Context ends when the edge no longer reads, or the session is lost.
	Context() context.Context
}

// Canceler aborts the directions of a stream. Both methods are idempotent and have no effect on a direction that ended.
type Canceler interface {
	// CancelRead requests that the edge stops sending, and makes a pending Read fail.
	CancelRead(code uint64)
	// CancelWrite resets the response, and makes a pending Write fail.
	CancelWrite(code uint64)
}

// Flow is an edge stream whose first bytes have been read.
type Flow struct {
	Meta   Meta
	Stream EdgeStream
	// First holds the bytes read so far, from the stream's very first byte. The carrier may keep it until Carry
	// returns, and does not change it.
	First []byte
	// EOF says that First is the whole request: the edge's FIN was read after it.
	EOF bool
	// Proxy is the only proxy that may run the flow; if it is empty the carrier chooses. NewDirect ignores it.
	Proxy tunnel.ProxyID
}

// Errors of Carry. Compare with errors.Is.
var (
	// ErrNotAccepted means that no proxy accepted a byte of the flow. Nothing was written to the edge stream, so the caller
	// may write a response of its own.
	ErrNotAccepted = errors.New("no proxy accepted the flow")
	// ErrLost means that the proxy was lost after it had accepted the flow; the edge stream was reset.
	ErrLost = errors.New("proxy lost")
	// ErrReset means that the proxy's handler aborted the flow; the edge stream was reset.
	ErrReset = errors.New("flow reset by the proxy")
	// ErrEdge means that the edge aborted the flow, or that the context of Carry ended.
	ErrEdge = errors.New("edge gave up the flow")
)

// FlushDelay bounds how long Stream.Buffer may hold bytes back.
const FlushDelay = time.Millisecond

// Carrier hands flows to a proxy.
type Carrier interface {
	// Carry runs one flow to its end. It copies the request to the proxy and the response to the edge stream; FIN stays FIN
	// and a reset stays a reset. It returns nil when both directions ended with FIN. After an error other than
	// ErrNotAccepted the edge stream has been aborted. The end of ctx aborts the flow.
	Carry(ctx context.Context, f Flow) error
}

// Stream is the proxy's side of a flow.
type Stream interface {
	// Read gives the request's bytes from the first one. io.EOF is the edge's FIN; any other error is an abort.
	io.Reader
	// Write sends the buffered bytes and p at once. If both are empty, nothing is written to the edge's stream.
	io.Writer
	// Buffer keeps a copy of p to travel with the next Write or CloseWrite, but no longer than FlushDelay.
	Buffer(p []byte) error
	// CloseWrite sends the buffered bytes and FIN at once.
	CloseWrite() error
	// Abort resets the response and reads no more.
	Abort()
}

// Handler is the proxy's entry. ServeStream owns s until it returns; a stream that is neither closed nor aborted by
// then is aborted. ctx ends when the edge stops reading the response or the worker is lost; neither it nor s may be used
// after ServeStream has returned.
type Handler interface {
	ServeStream(ctx context.Context, m Meta, s Stream)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, m Meta, s Stream)

// ServeStream calls f.
func (f HandlerFunc) ServeStream(ctx context.Context, m Meta, s Stream) { f(ctx, m, s) }

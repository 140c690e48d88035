package link

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Kind says what the bytes of a flow are.
type Kind uint8

// The kinds of flows. Values travel in the OPEN frame and never change.
const (
	// KindStream is a data stream of the edge: prologue and ConnectRequest first (docs/spec/wire.md 5.2, 5.3).
	KindStream Kind = 0
	// KindDatagrams is a long-lived flow between one session of a worker and one proxy, which carries messages both ways
	// (package packet).
	KindDatagrams Kind = 1
	// KindConfig is one configuration that the edge pushed: version and JSON, answered by the version in force and an
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

// EdgeStream is what a carrier needs of an edge stream; transport.Stream has it.
type EdgeStream interface {
	io.Reader
	io.Writer
	// CloseWrite sends FIN.
	CloseWrite() error
	Canceler
	// Context ends when the edge no longer reads, or the session is lost.
	Context() context.Context
}

// Canceler ends the directions of a stream in disorder. Both methods are idempotent and have no effect on a direction
// that ended.
type Canceler interface {
	// CancelRead tells the edge to send no more, and makes a pending Read fail.
	CancelRead(code uint64)
	// CancelWrite resets the answer, and makes a pending Write fail.
	CancelWrite(code uint64)
}

// Flow is an edge stream whose first bytes have been read.
type Flow struct {
	Meta   Meta
	Stream EdgeStream
	// First holds the bytes read so far, from the stream's very first byte. The carrier may keep it until Carry
	// returns, and does not change it.
	First []byte
	// EOF says that First is all there is: the edge's FIN was read together with it.
	EOF bool
	// Proxy asks for one proxy and no other; empty leaves the choice to the carrier. In one process there is no choice,
	// and it is ignored.
	Proxy tunnel.ProxyID
}

// Errors of Carry. Compare with errors.Is.
var (
	// ErrNotAccepted says that no proxy took a byte of the flow: nothing was written to the edge stream, and the
	// caller may answer the edge in its own words.
	ErrNotAccepted = errors.New("no proxy accepted the flow")
	// ErrLost says that the proxy was lost in the middle; the edge stream was reset.
	ErrLost = errors.New("proxy lost")
	// ErrReset says that the proxy's handler aborted the flow; the edge stream was reset.
	ErrReset = errors.New("flow reset by the proxy")
	// ErrEdge says that the edge gave the flow up, or that the context of Carry ended.
	ErrEdge = errors.New("edge gave up the flow")
)

// FlushDelay bounds how long Stream.Buffer may hold bytes back.
const FlushDelay = time.Millisecond

// Carrier hands flows to a proxy.
type Carrier interface {
	// Carry runs one flow to its end: request bytes to the proxy, answer bytes to the edge stream, FIN as FIN, reset
	// as reset. It returns nil when both directions ended in order. After an error other than ErrNotAccepted the edge
	// stream has been aborted. ctx ends the flow with an abort.
	Carry(ctx context.Context, f Flow) error
}

// Stream is the proxy's side of a flow.
type Stream interface {
	// Read gives the request's bytes from the very first. io.EOF is the edge's FIN; anything else is an abort.
	io.Reader
	// Write sends everything that was buffered, then p, at once.
	io.Writer
	// Buffer keeps a copy of p to travel with the next Write or CloseWrite, but no longer than FlushDelay.
	Buffer(p []byte) error
	// CloseWrite sends everything that was buffered, and FIN, in one go.
	CloseWrite() error
	// Abort resets the answer and reads no more.
	Abort()
}

// Handler is the proxy's entry. ServeStream owns s until it returns; a stream that is neither closed nor aborted by
// then is aborted. ctx ends when the edge no longer wants the answer or the worker is lost; neither it nor s may be used
// after ServeStream has returned.
type Handler interface {
	ServeStream(ctx context.Context, m Meta, s Stream)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, m Meta, s Stream)

// ServeStream calls f.
func (f HandlerFunc) ServeStream(ctx context.Context, m Meta, s Stream) { f(ctx, m, s) }

package rpc

import (
	"context"
	"errors"
	"io"
)

// ConnectorHandler is the connector's side of edge-opened RPC streams. Methods run concurrently.
type ConnectorHandler interface {
	// UpdateConfiguration applies a configuration (JSON) and returns the version that is in force afterwards, also
	// together with an error (spec/wire.md 8.6).
	UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error)
}

// ServeConnector serves one edge-opened RPC stream, after its signature, until the peer ends it or ctx does, then
// closes rw.
func ServeConnector(ctx context.Context, rw io.ReadWriteCloser, h ConnectorHandler) error {
	return errors.ErrUnsupported
}

// ConnectorClient is the edge's end of an RPC stream to a connector.
type ConnectorClient struct{}

// NewConnectorClient starts the RPC connection on rw, which it owns from now on. The caller has written the signature.
func NewConnectorClient(rw io.ReadWriteCloser) *ConnectorClient { return nil }

// UpdateConfiguration pushes a configuration (JSON) and returns the version that the connector has in force. A
// connector that rejects the configuration is a *RejectedError.
func (c *ConnectorClient) UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error) {
	return 0, errors.ErrUnsupported
}

// Close ends the RPC connection, closes the stream and waits for the connection's goroutines.
func (c *ConnectorClient) Close() error { return nil }

// Done is closed when the RPC connection has ended, whoever ended it.
func (c *ConnectorClient) Done() <-chan struct{} { return nil }

// RejectedError is the connector's answer to a configuration that it did not apply.
type RejectedError struct {
	// Applied is the version that stays in force.
	Applied int32
	// Detail is the connector's text.
	Detail string
}

// Error gives the connector's text.
func (e *RejectedError) Error() string { return "configuration rejected: " + e.Detail }

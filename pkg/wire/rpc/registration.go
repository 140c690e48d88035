package rpc

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Options describe the connector that registers (spec/wire.md 8.1).
type Options struct {
	ConnectorID tunnel.ConnectorID
	Features    []string
	Version     string
	Arch        string
	// OriginLocalIP may be the zero Addr.
	OriginLocalIP       netip.Addr
	ReplaceExisting     bool
	CompressionQuality  uint8
	NumPreviousAttempts uint8
}

// RegisterRequest is one registerConnection call. Of Auth, only AccountTag and Secret travel; TunnelID is the field
// that names the tunnel.
type RegisterRequest struct {
	Auth     tunnel.Credentials
	TunnelID tunnel.ID
	Index    tunnel.ConnIndex
	Options  Options
}

// ConnectionDetails is the edge's answer to a registration that it accepted.
type ConnectionDetails struct {
	UUID            [16]byte
	Location        string
	RemotelyManaged bool
}

// CauseDuplicate is the text by which an edge says that it already holds this connector's connection.
const CauseDuplicate = "EDUPCONN"

// RegistrationClient is the connector's end of the control stream.
type RegistrationClient struct{}

// NewRegistrationClient starts the RPC connection on rw, which it owns from now on.
func NewRegistrationClient(rw io.ReadWriteCloser) *RegistrationClient { return nil }

// Register registers one connection. A refusal is a *tunnel.ConnError with ReasonDuplicate or ReasonRefused, everything
// else that goes wrong is one with ReasonRPC.
func (c *RegistrationClient) Register(ctx context.Context, req RegisterRequest) (ConnectionDetails, error) {
	return ConnectionDetails{}, errors.ErrUnsupported
}

// Unregister asks the edge to send no new requests.
func (c *RegistrationClient) Unregister(ctx context.Context) error { return errors.ErrUnsupported }

// UpdateLocalConfiguration tells the edge the connector's own configuration as JSON.
func (c *RegistrationClient) UpdateLocalConfiguration(ctx context.Context, json []byte) error {
	return errors.ErrUnsupported
}

// Close ends the RPC connection, closes the stream and waits for the connection's goroutines.
func (c *RegistrationClient) Close() error { return nil }

// Done is closed when the RPC connection has ended, whoever ended it.
func (c *RegistrationClient) Done() <-chan struct{} { return nil }

// RegistrationHandler is the edge's side of registration. Methods run concurrently.
type RegistrationHandler interface {
	// Register accepts or refuses a connection. A *tunnel.ConnError becomes a ConnectionError of the protocol
	// (ReasonDuplicate: EDUPCONN; Retryable and RetryAfter as they are); any other error becomes an exception.
	Register(ctx context.Context, req RegisterRequest) (ConnectionDetails, error)
	Unregister(ctx context.Context) error
	UpdateLocalConfiguration(ctx context.Context, json []byte) error
}

// ServeRegistration serves one control stream until the peer ends it or ctx does, then closes rw.
func ServeRegistration(ctx context.Context, rw io.ReadWriteCloser, h RegistrationHandler) error {
	return errors.ErrUnsupported
}

package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	capnp "capnproto.org/go/capnp/v3"

	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

// ConnectorHandler is the connector's side of edge-opened RPC streams. Methods run concurrently; their contexts end
// with the stream, with the ctx of ServeConnector, and when the peer gives up the call.
type ConnectorHandler interface {
	ConfigurationHandler
	SessionHandler
}

// ConfigurationHandler is the connector's side of configuration updates.
type ConfigurationHandler interface {
	// UpdateConfiguration applies a configuration (JSON) and returns the version that is in force afterwards, also
	// together with an error, whose text the edge sees (docs/spec/wire.md 8.6).
	UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error)
}

// ServeConnector serves one edge-opened RPC stream, after its signature, until the peer ends it (nil) or ctx does (its
// cause), closes rw and waits for the handler's methods. Any other error says how the stream broke or what the peer
// did wrong. The caller bounds the time (docs/spec/wire.md 5.6).
func ServeConnector(ctx context.Context, rw io.ReadWriteCloser, h ConnectorHandler) error {
	s := &connectorServer{handler: h}
	return serve(ctx, rw, capnp.Client(schema.CloudflaredServer_ServerToClient(s)), &s.calls)
}

// connectorServer adapts a handler to the generated interface, under the rules of registrationServer.
type connectorServer struct {
	handler ConnectorHandler
	calls   gate
}

func (s *connectorServer) UpdateConfiguration(ctx context.Context, call schema.ConfigurationManager_updateConfiguration) error {
	if !s.calls.enter() {
		return errClosed
	}
	defer s.calls.leave()
	args := call.Args()
	config, err := args.Config()
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	version, config := args.Version(), bytes.Clone(config)
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	call.Go()
	applied, rejection := s.handler.UpdateConfiguration(ctx, version, config)
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	response.SetLatestAppliedVersion(applied)
	if rejection != nil {
		return response.SetErr(rejection.Error())
	}
	return nil
}

// ConnectorClient is the edge's end of an RPC stream to a connector.
type ConnectorClient struct {
	session *session
}

// NewConnectorClient starts the RPC connection on rw, which it owns from now on. The caller has written the signature.
func NewConnectorClient(rw io.ReadWriteCloser) *ConnectorClient {
	return &ConnectorClient{session: newSession(rw)}
}

// UpdateConfiguration pushes a configuration (JSON) and returns the version that the connector has in force. A
// connector that rejects the configuration is a *RejectedError.
func (c *ConnectorClient) UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error) {
	manager := schema.ConfigurationManager(c.session.bootstrap(ctx))
	f, release := manager.UpdateConfiguration(ctx, func(p schema.ConfigurationManager_updateConfiguration_Params) error {
		p.SetVersion(version)
		return p.SetConfig(config)
	})
	var rejection string
	err = c.session.finish(ctx, f.Future, release, func() error {
		results, err := f.Struct()
		if err != nil {
			return err
		}
		response, err := results.Result()
		if err != nil {
			return err
		}
		if !response.IsValid() {
			return errors.New("answer without a result")
		}
		applied = response.LatestAppliedVersion()
		rejection, err = response.Err()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("update configuration: %w", err)
	}
	if rejection != "" {
		return applied, &RejectedError{Applied: applied, Detail: rejection}
	}
	return applied, nil
}

// Close ends the RPC connection, closes the stream and waits until nothing uses it. Calls in progress fail.
func (c *ConnectorClient) Close() error { return c.session.close() }

// Done is closed when the RPC connection has ended, whoever ended it.
func (c *ConnectorClient) Done() <-chan struct{} { return c.session.conn.Done() }

// RejectedError is the connector's answer to a configuration that it did not apply.
type RejectedError struct {
	// Applied is the version that stays in force.
	Applied int32
	// Detail is the connector's text.
	Detail string
}

// Error gives the connector's text.
func (e *RejectedError) Error() string { return "configuration rejected: " + e.Detail }

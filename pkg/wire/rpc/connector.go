package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	capnp "capnproto.org/go/capnp/v3"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
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
	// Apply puts an update in force and returns the version in force afterwards (docs/spec/wire.md 8.6). The edge gets the
	// reason of a *remoteconfig.RejectedError as part of the result; any other error fails the call. The update names no
	// tunnel, the session does.
	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
}

// ServeConnector serves one edge-opened RPC stream, after its signature, until the peer ends it (nil) or ctx does (its
// cause), closes rw and waits for the handler's methods. Any other error is that of the stream or of a peer that
// violates the protocol. The caller bounds the time (docs/spec/wire.md 5.6).
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
	applied, err := s.handler.Apply(ctx, remoteconfig.Update{Version: version, Document: config})
	result, known := remoteconfig.ResultOf(applied, err)
	if !known {
		return err
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	response.SetLatestAppliedVersion(result.Applied)
	if result.Rejection != "" {
		return response.SetErr(result.Rejection)
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

// Apply pushes an update and returns the version that the connector has in force. The error is a
// *remoteconfig.RejectedError when the connector did not apply the update.
func (c *ConnectorClient) Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error) {
	manager := schema.ConfigurationManager(c.session.bootstrap(ctx))
	f, release := manager.UpdateConfiguration(ctx, func(p schema.ConfigurationManager_updateConfiguration_Params) error {
		p.SetVersion(u.Version)
		return p.SetConfig(u.Document)
	})
	var result remoteconfig.Result
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
			return errors.New("response without a result")
		}
		result.Applied = response.LatestAppliedVersion()
		result.Rejection, err = response.Err()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("update configuration: %w", err)
	}
	return result.Unpack(u.Version)
}

// Close ends the RPC connection, closes the stream and waits until nothing uses it. Calls in progress fail.
func (c *ConnectorClient) Close() error { return c.session.close() }

// Done is closed when the RPC connection has ended, whoever ended it.
func (c *ConnectorClient) Done() <-chan struct{} { return c.session.conn.Done() }

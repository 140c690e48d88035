package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

// Options describe the connector that registers (docs/spec/wire.md 8.1).
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

// ConnectionDetails is the edge's response to a registration that it accepts.
type ConnectionDetails struct {
	UUID            [16]byte
	Location        string
	RemotelyManaged bool
}

// CauseDuplicate is the text of a refusal because the edge already has this connection of the connector.
const CauseDuplicate = "EDUPCONN"

// RegistrationClient is the connector's end of the control stream.
type RegistrationClient struct {
	session *session
}

// NewRegistrationClient starts the RPC connection on rw, which it owns from now on. Nothing is sent before the first
// call.
func NewRegistrationClient(rw io.ReadWriteCloser) *RegistrationClient {
	return &RegistrationClient{session: newSession(rw)}
}

// Register registers one connection. A refusal is a *tunnel.ConnError with ReasonDuplicate or ReasonRefused, any
// other failure is one with ReasonRPC.
func (c *RegistrationClient) Register(ctx context.Context, req RegisterRequest) (ConnectionDetails, error) {
	server := schema.RegistrationServer(c.session.bootstrap(ctx))
	f, release := server.RegisterConnection(ctx, func(p schema.RegistrationServer_registerConnection_Params) error {
		return writeRegister(p, req)
	})
	var details ConnectionDetails
	var refusal *tunnel.ConnError
	err := c.session.finish(ctx, f.Future, release, func() (err error) {
		results, err := f.Struct()
		if err != nil {
			return err
		}
		details, refusal, err = readRegistration(results)
		return err
	})
	if err != nil {
		return ConnectionDetails{}, &tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: fmt.Errorf("register connection: %w", err)}
	}
	if refusal != nil {
		return ConnectionDetails{}, refusal
	}
	return details, nil
}

// Unregister asks the edge to send no new requests. It returns when the edge has responded or ctx ends.
func (c *RegistrationClient) Unregister(ctx context.Context) error {
	server := schema.RegistrationServer(c.session.bootstrap(ctx))
	f, release := server.UnregisterConnection(ctx, nil)
	err := c.session.finish(ctx, f.Future, release, func() error {
		_, err := f.Struct()
		return err
	})
	if err != nil {
		return fmt.Errorf("unregister connection: %w", err)
	}
	return nil
}

// UpdateLocalConfiguration sends the connector's own configuration as JSON to the edge.
func (c *RegistrationClient) UpdateLocalConfiguration(ctx context.Context, json []byte) error {
	server := schema.RegistrationServer(c.session.bootstrap(ctx))
	f, release := server.UpdateLocalConfiguration(ctx, func(p schema.RegistrationServer_updateLocalConfiguration_Params) error {
		return p.SetConfig(json)
	})
	err := c.session.finish(ctx, f.Future, release, func() error {
		_, err := f.Struct()
		return err
	})
	if err != nil {
		return fmt.Errorf("update local configuration: %w", err)
	}
	return nil
}

// Close ends the RPC connection, closes the stream and waits until nothing uses it. Calls in progress fail.
func (c *RegistrationClient) Close() error { return c.session.close() }

// Done is closed when the RPC connection has ended, whoever ended it.
func (c *RegistrationClient) Done() <-chan struct{} { return c.session.conn.Done() }

func writeRegister(p schema.RegistrationServer_registerConnection_Params, req RegisterRequest) error {
	auth, err := p.NewAuth()
	if err != nil {
		return err
	}
	options, err := p.NewOptions()
	if err != nil {
		return err
	}
	p.SetConnIndex(uint8(req.Index))
	return errors.Join(
		auth.SetAccountTag(req.Auth.AccountTag),
		auth.SetTunnelSecret(req.Auth.Secret),
		p.SetTunnelId(req.TunnelID[:]),
		writeOptions(options, req.Options),
	)
}

// writeOptions writes the local address in the 16-byte form, as the reference does.
func writeOptions(p schema.ConnectionOptions, o Options) error {
	client, err := p.NewClient()
	if err != nil {
		return err
	}
	features, err := client.NewFeatures(int32(len(o.Features)))
	if err != nil {
		return err
	}
	for i, f := range o.Features {
		if err := features.Set(i, f); err != nil {
			return err
		}
	}
	var ip []byte
	if o.OriginLocalIP.IsValid() {
		b := o.OriginLocalIP.As16()
		ip = b[:]
	}
	p.SetReplaceExisting(o.ReplaceExisting)
	p.SetCompressionQuality(o.CompressionQuality)
	p.SetNumPreviousAttempts(o.NumPreviousAttempts)
	return errors.Join(
		p.SetOriginLocalIp(ip),
		client.SetClientId(o.ConnectorID[:]),
		client.SetVersion(o.Version),
		client.SetArch(o.Arch),
	)
}

// readRegistration reads the union of details and refusal.
func readRegistration(results schema.RegistrationServer_registerConnection_Results) (ConnectionDetails, *tunnel.ConnError, error) {
	response, err := results.Result()
	if err != nil {
		return ConnectionDetails{}, nil, err
	}
	result := response.Result()
	switch result.Which() {
	case schema.ConnectionResponse_result_Which_connectionDetails:
		d, err := result.ConnectionDetails()
		if err != nil {
			return ConnectionDetails{}, nil, err
		}
		details, err := readDetails(d)
		return details, nil, err
	case schema.ConnectionResponse_result_Which_error:
		e, err := result.Error()
		if err != nil {
			return ConnectionDetails{}, nil, err
		}
		if !e.IsValid() {
			return ConnectionDetails{}, nil, errors.New("response without a result")
		}
		refusal, err := readRefusal(e)
		return ConnectionDetails{}, refusal, err
	default:
		return ConnectionDetails{}, nil, errors.New("response of an unknown kind")
	}
}

func readDetails(d schema.ConnectionDetails) (ConnectionDetails, error) {
	uuid, err := d.Uuid()
	if err != nil {
		return ConnectionDetails{}, err
	}
	location, err := d.LocationName()
	if err != nil {
		return ConnectionDetails{}, err
	}
	details := ConnectionDetails{Location: location, RemotelyManaged: d.TunnelIsRemotelyManaged()}
	if len(uuid) != len(details.UUID) {
		return ConnectionDetails{}, fmt.Errorf("connection id of %d bytes", len(uuid))
	}
	copy(details.UUID[:], uuid)
	return details, nil
}

func readRefusal(e schema.ConnectionError) (*tunnel.ConnError, error) {
	cause, err := e.Cause()
	if err != nil {
		return nil, err
	}
	refusal := &tunnel.ConnError{
		Reason:     tunnel.ReasonRefused,
		Retryable:  e.ShouldRetry(),
		RetryAfter: max(0, time.Duration(e.RetryAfter())),
		Err:        errors.New(cause),
	}
	if cause == CauseDuplicate {
		refusal.Reason = tunnel.ReasonDuplicate
	}
	return refusal, nil
}

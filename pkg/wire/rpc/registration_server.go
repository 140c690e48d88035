package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	capnp "capnproto.org/go/capnp/v3"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

// maxFeatures bounds the feature list of one connector; there are about ten in use.
const maxFeatures = 256

// RegistrationHandler is the edge's side of registration. Methods run concurrently; their contexts end with the
// stream, with the ctx of ServeRegistration, and when the peer gives up the call.
type RegistrationHandler interface {
	// Register accepts or refuses a connection. A *tunnel.ConnError becomes a ConnectionError of the protocol
	// (ReasonDuplicate: EDUPCONN; Retryable and RetryAfter as they are); any other error becomes an exception, whose
	// text the connector sees.
	Register(ctx context.Context, req RegisterRequest) (ConnectionDetails, error)
	Unregister(ctx context.Context) error
	UpdateLocalConfiguration(ctx context.Context, json []byte) error
}

// ServeRegistration serves one control stream until the peer ends it (nil) or ctx does (its cause), closes rw and
// waits for the handler's methods. Any other error is that of the stream or of a peer that violates the protocol.
func ServeRegistration(ctx context.Context, rw io.ReadWriteCloser, h RegistrationHandler) error {
	s := &registrationServer{handler: h}
	return serve(ctx, rw, capnp.Client(schema.RegistrationServer_ServerToClient(s)), &s.calls)
}

// registrationServer adapts a handler to the generated interface. Two rules hold for every method: results are
// allocated on every successful path, as a return without them crashes the reference (docs/spec/wire.md 7.1), and Go is
// called before anything that may block, so that other calls proceed.
type registrationServer struct {
	handler RegistrationHandler
	calls   gate
}

func (s *registrationServer) RegisterConnection(ctx context.Context, call schema.RegistrationServer_registerConnection) error {
	if !s.calls.enter() {
		return errClosed
	}
	defer s.calls.leave()
	req, err := readRegister(call.Args())
	if err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	call.Go()
	details, err := s.handler.Register(ctx, req)
	var refusal *tunnel.ConnError
	if err != nil && !errors.As(err, &refusal) {
		return err
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	if refusal != nil {
		return writeRefusal(response, refusal)
	}
	return writeDetails(response, details)
}

func (s *registrationServer) UnregisterConnection(ctx context.Context, call schema.RegistrationServer_unregisterConnection) error {
	if !s.calls.enter() {
		return errClosed
	}
	defer s.calls.leave()
	if _, err := call.AllocResults(); err != nil {
		return err
	}
	call.Go()
	return s.handler.Unregister(ctx)
}

func (s *registrationServer) UpdateLocalConfiguration(ctx context.Context, call schema.RegistrationServer_updateLocalConfiguration) error {
	if !s.calls.enter() {
		return errClosed
	}
	defer s.calls.leave()
	config, err := call.Args().Config()
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	config = bytes.Clone(config)
	if _, err := call.AllocResults(); err != nil {
		return err
	}
	call.Go()
	return s.handler.UpdateLocalConfiguration(ctx, config)
}

func readRegister(p schema.RegistrationServer_registerConnection_Params) (RegisterRequest, error) {
	auth, err := p.Auth()
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("auth: %w", err)
	}
	account, err := auth.AccountTag()
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("account tag: %w", err)
	}
	secret, err := auth.TunnelSecret()
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("tunnel secret: %w", err)
	}
	id, err := p.TunnelId()
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("tunnel id: %w", err)
	}
	if len(id) != len(tunnel.ID{}) {
		return RegisterRequest{}, fmt.Errorf("tunnel id of %d bytes", len(id))
	}
	o, err := p.Options()
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("options: %w", err)
	}
	options, err := readOptions(o)
	if err != nil {
		return RegisterRequest{}, fmt.Errorf("options: %w", err)
	}
	return RegisterRequest{
		Auth: tunnel.Credentials{
			AccountTag: account,
			Secret:     bytes.Clone(secret),
			TunnelID:   tunnel.ID(id),
		},
		TunnelID: tunnel.ID(id),
		Index:    tunnel.ConnIndex(p.ConnIndex()),
		Options:  options,
	}, nil
}

func readOptions(p schema.ConnectionOptions) (Options, error) {
	o := Options{
		ReplaceExisting:     p.ReplaceExisting(),
		CompressionQuality:  p.CompressionQuality(),
		NumPreviousAttempts: p.NumPreviousAttempts(),
	}
	client, err := p.Client()
	if err != nil {
		return Options{}, fmt.Errorf("client: %w", err)
	}
	id, err := client.ClientId()
	if err != nil {
		return Options{}, fmt.Errorf("connector id: %w", err)
	}
	if len(id) != len(o.ConnectorID) {
		return Options{}, fmt.Errorf("connector id of %d bytes", len(id))
	}
	copy(o.ConnectorID[:], id)
	if o.Features, err = readFeatures(client); err != nil {
		return Options{}, fmt.Errorf("features: %w", err)
	}
	if o.Version, err = client.Version(); err != nil {
		return Options{}, fmt.Errorf("version: %w", err)
	}
	if o.Arch, err = client.Arch(); err != nil {
		return Options{}, fmt.Errorf("arch: %w", err)
	}
	ip, err := p.OriginLocalIp()
	if err != nil {
		return Options{}, fmt.Errorf("local address: %w", err)
	}
	if addr, ok := netip.AddrFromSlice(ip); ok { // informative only, so another length is ignored
		o.OriginLocalIP = addr.Unmap()
	}
	return o, nil
}

func readFeatures(client schema.ClientInfo) ([]string, error) {
	list, err := client.Features()
	if err != nil {
		return nil, err
	}
	if list.Len() > maxFeatures {
		return nil, fmt.Errorf("%d entries", list.Len())
	}
	features := make([]string, list.Len())
	for i := range features {
		if features[i], err = list.At(i); err != nil {
			return nil, err
		}
	}
	return features, nil
}

func writeDetails(response schema.ConnectionResponse, details ConnectionDetails) error {
	d, err := response.Result().NewConnectionDetails()
	if err != nil {
		return err
	}
	d.SetTunnelIsRemotelyManaged(details.RemotelyManaged)
	return errors.Join(d.SetUuid(details.UUID[:]), d.SetLocationName(details.Location))
}

func writeRefusal(response schema.ConnectionResponse, refusal *tunnel.ConnError) error {
	e, err := response.Result().NewError()
	if err != nil {
		return err
	}
	e.SetShouldRetry(refusal.Retryable)
	e.SetRetryAfter(int64(refusal.RetryAfter))
	return e.SetCause(refusalCause(refusal))
}

// refusalCause gives the text that the connector receives.
func refusalCause(refusal *tunnel.ConnError) string {
	switch {
	case refusal.Reason == tunnel.ReasonDuplicate:
		return CauseDuplicate
	case refusal.Err != nil:
		return refusal.Err.Error()
	default:
		return string(refusal.Reason)
	}
}

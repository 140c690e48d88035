package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	capnp "capnproto.org/go/capnp/v3"

	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

// The errors of a connector for session calls on a connection with datagram v3 (docs/spec/wire.md 11).
var (
	ErrRegisterV3   = errors.New("datagram v3 does not support RegisterUdpSession RPC")
	ErrUnregisterV3 = errors.New("datagram v3 does not support UnregisterUdpSession RPC")
)

const sessionIDSize = 16

// UDPSession is one registerUdpSession call of datagram v2 (docs/spec/wire.md 10).
type UDPSession struct {
	ID   [sessionIDSize]byte
	Dest netip.AddrPort
	// Idle is the time without a datagram after which the session ends; 0 means the connector's default.
	Idle time.Duration
	// Trace is the text form of a tracing identity, or empty.
	Trace string
}

// SessionHandler is the connector's side of UDP sessions of datagram v2.
type SessionHandler interface {
	// RegisterUDPSession returns when the session's socket exists. The edge sees the text of an error, and spans.
	RegisterUDPSession(ctx context.Context, s UDPSession) (spans []byte, err error)
	// UnregisterUDPSession ends a session; an id that is not known is no error.
	UnregisterUDPSession(ctx context.Context, id [sessionIDSize]byte, message string) error
}

// EndHandler is the edge's side of a connector's message that it has ended a session.
type EndHandler func(ctx context.Context, id [sessionIDSize]byte, message string) error

// ServeSessionEnds serves one connector-opened RPC stream, after its signature, under the rules of ServeConnector.
func ServeSessionEnds(ctx context.Context, rw io.ReadWriteCloser, h EndHandler) error {
	s := &endServer{handler: h}
	return serve(ctx, rw, capnp.Client(schema.SessionManager_ServerToClient(s)), &s.calls)
}

// endServer adapts an EndHandler to the generated interface, under the rules of registrationServer.
type endServer struct {
	handler EndHandler
	calls   gate
}

//nolint:revive // the generated interface names it
func (*endServer) RegisterUdpSession(context.Context, schema.SessionManager_registerUdpSession) error {
	return errors.New("udp sessions are registered by the edge")
}

//nolint:revive // the generated interface names it
func (s *endServer) UnregisterUdpSession(ctx context.Context, call schema.SessionManager_unregisterUdpSession) error {
	return serveUnregister(ctx, call, &s.calls, s.handler)
}

//nolint:revive // the generated interface names it
func (s *connectorServer) RegisterUdpSession(ctx context.Context, call schema.SessionManager_registerUdpSession) error {
	if !s.calls.enter() {
		return errClosed
	}
	defer s.calls.leave()
	session, refusal := readSession(call.Args())
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	call.Go()
	var spans []byte
	if refusal == nil {
		spans, refusal = s.handler.RegisterUDPSession(ctx, session)
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	if len(spans) > 0 {
		err = response.SetSpans(spans)
	}
	if refusal != nil {
		err = errors.Join(err, response.SetErr(refusal.Error()))
	}
	return err
}

//nolint:revive // the generated interface names it
func (s *connectorServer) UnregisterUdpSession(ctx context.Context, call schema.SessionManager_unregisterUdpSession) error {
	return serveUnregister(ctx, call, &s.calls, s.handler.UnregisterUDPSession)
}

func serveUnregister(ctx context.Context, call schema.SessionManager_unregisterUdpSession, calls *gate, h EndHandler) error {
	if !calls.enter() {
		return errClosed
	}
	defer calls.leave()
	args := call.Args()
	b, err := args.SessionId()
	if err != nil {
		return fmt.Errorf("session id: %w", err)
	}
	if len(b) != sessionIDSize {
		return fmt.Errorf("session id of %d bytes", len(b))
	}
	id := [sessionIDSize]byte(b)
	message, err := args.Message_()
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if _, err := call.AllocResults(); err != nil {
		return err
	}
	call.Go()
	return h(ctx, id, message)
}

// readSession reads the parameters of a registration. A mapped IPv4 address becomes an IPv4 address.
func readSession(p schema.SessionManager_registerUdpSession_Params) (UDPSession, error) {
	id, err := p.SessionId()
	if err != nil {
		return UDPSession{}, fmt.Errorf("session id: %w", err)
	}
	if len(id) != sessionIDSize {
		return UDPSession{}, fmt.Errorf("session id of %d bytes", len(id))
	}
	ip, err := p.DstIp()
	if err != nil {
		return UDPSession{}, fmt.Errorf("destination: %w", err)
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return UDPSession{}, fmt.Errorf("destination address of %d bytes", len(ip))
	}
	trace, err := p.TraceContext()
	if err != nil {
		return UDPSession{}, fmt.Errorf("trace context: %w", err)
	}
	return UDPSession{
		ID: [sessionIDSize]byte(id), Dest: netip.AddrPortFrom(addr.Unmap(), p.DstPort()),
		Idle: max(0, time.Duration(p.CloseAfterIdleHint())), Trace: trace,
	}, nil
}

// RegisterUDPSession asks the connector for a session and returns when its socket exists. The error of a connector
// that refuses is a *SessionError.
func (c *ConnectorClient) RegisterUDPSession(ctx context.Context, s UDPSession) (spans []byte, err error) {
	manager := schema.SessionManager(c.session.bootstrap(ctx))
	f, release := manager.RegisterUdpSession(ctx, func(p schema.SessionManager_registerUdpSession_Params) error {
		p.SetDstPort(s.Dest.Port())
		p.SetCloseAfterIdleHint(int64(s.Idle))
		return errors.Join(p.SetSessionId(s.ID[:]), p.SetDstIp(s.Dest.Addr().AsSlice()), p.SetTraceContext(s.Trace))
	})
	var refusal string
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
		b, err := response.Spans()
		if err != nil {
			return err
		}
		spans = bytes.Clone(b)
		refusal, err = response.Err()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register udp session: %w", err)
	}
	if refusal != "" {
		return spans, &SessionError{Detail: refusal}
	}
	return spans, nil
}

// UnregisterUDPSession tells the connector that the edge has ended a session.
func (c *ConnectorClient) UnregisterUDPSession(ctx context.Context, id [sessionIDSize]byte, message string) error {
	return c.session.unregister(ctx, id, message)
}

// SessionClient is the connector's end of an RPC stream that it opened to tell the edge about the end of a session.
type SessionClient struct {
	session *session
}

// NewSessionClient starts the RPC connection on rw, which it owns from now on. The caller has written the signature.
func NewSessionClient(rw io.ReadWriteCloser) *SessionClient {
	return &SessionClient{session: newSession(rw)}
}

// UnregisterUDPSession tells the edge that the connector has ended a session, and the reason.
func (c *SessionClient) UnregisterUDPSession(ctx context.Context, id [sessionIDSize]byte, message string) error {
	return c.session.unregister(ctx, id, message)
}

// Close ends the RPC connection, closes the stream and waits until nothing uses it. Calls in progress fail.
func (c *SessionClient) Close() error { return c.session.close() }

func (s *session) unregister(ctx context.Context, id [sessionIDSize]byte, message string) error {
	manager := schema.SessionManager(s.bootstrap(ctx))
	f, release := manager.UnregisterUdpSession(ctx, func(p schema.SessionManager_unregisterUdpSession_Params) error {
		return errors.Join(p.SetSessionId(id[:]), p.SetMessage_(message))
	})
	err := s.finish(ctx, f.Future, release, func() error {
		_, err := f.Struct()
		return err
	})
	if err != nil {
		return fmt.Errorf("unregister udp session: %w", err)
	}
	return nil
}

// SessionError means that the connector refused to register a session.
type SessionError struct {
	// Detail is the connector's text.
	Detail string
}

// Error gives the connector's text.
func (e *SessionError) Error() string { return "udp session refused: " + e.Detail }

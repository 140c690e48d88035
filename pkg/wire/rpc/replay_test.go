package rpc_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// returned is a return in a comparable form.
type returned struct {
	ID        uint32
	Exception string
	Cap       bool
	// Content is the canonical form of the result struct.
	Content string
}

func contentOf(t testing.TB, ret rpccp.Return) returned {
	t.Helper()
	a := returned{ID: ret.AnswerId()}
	switch ret.Which() {
	case rpccp.Return_Which_exception:
		e, err := ret.Exception()
		must(t, err)
		a.Exception, err = e.Reason()
		must(t, err)
	case rpccp.Return_Which_results:
		if !ret.HasResults() {
			t.Fatal("return with a null payload, which crashes the reference")
		}
		results, err := ret.Results()
		must(t, err)
		content, err := results.Content()
		must(t, err)
		if !content.IsValid() {
			t.Fatal("return with null content")
		}
		caps, err := results.CapTable()
		must(t, err)
		if a.Cap = content.Interface().IsValid(); a.Cap {
			if caps.Len() != 1 || caps.At(0).Which() != rpccp.CapDescriptor_Which_senderHosted {
				t.Fatal("bootstrap result is not one capability hosted by its sender")
			}
			return a
		}
		b, err := capnp.Canonicalize(content.Struct())
		must(t, err)
		a.Content = hex.EncodeToString(b)
	default:
		t.Fatalf("return of kind %v", ret.Which())
	}
	return a
}

func decodeMessage(t testing.TB, b []byte) rpccp.Message {
	t.Helper()
	msg, err := capnp.Unmarshal(b)
	must(t, err)
	m, err := rpccp.ReadRootMessage(msg)
	must(t, err)
	return m
}

// replayServer plays the caller's side of e against a server and compares the server's returns with the recorded ones.
func replayServer(t *testing.T, e recording, caller string, p *peer) {
	t.Helper()
	for _, w := range e.Writes {
		if w.Message == "rpc stream signature" {
			continue
		}
		b := unhex(t, w.Hex)
		if w.From == caller {
			p.write(b)
			continue
		}
		ret, err := decodeMessage(t, b).Return()
		must(t, err)
		if diff := cmp.Diff(contentOf(t, ret), contentOf(t, p.wantReturn())); diff != "" {
			t.Errorf("return differs (-recorded +ours):\n%s", diff)
		}
	}
	if m, ok := p.next(); ok {
		t.Errorf("message of kind %v after the peer's abort", m.Which())
	}
}

// replayClient plays the serving side of e against a client until the client ends the stream: it responds to calls with the
// recorded returns, under the ids that our client chose.
func replayClient(t *testing.T, e recording, server string, p *peer) {
	t.Helper()
	recorded := e.messages(t, server)
	for {
		m, ok := p.next()
		if !ok || m.Which() == rpccp.Message_Which_abort {
			return
		}
		var id uint32
		switch m.Which() {
		case rpccp.Message_Which_bootstrap:
			b, err := m.Bootstrap()
			must(t, err)
			id = b.QuestionId()
		case rpccp.Message_Which_call:
			call, err := m.Call()
			must(t, err)
			if !call.HasParams() {
				t.Error("call with null params, which crashes the reference")
			}
			if e.Call.SessionID != "" {
				sameParams(t, e, e.Writes[0].From, call)
			}
			id = call.QuestionId()
		default:
			continue
		}
		if len(recorded) == 0 {
			t.Fatal("more calls than recorded returns")
		}
		reply := decodeMessage(t, recorded[0])
		recorded = recorded[1:]
		ret, err := reply.Return()
		must(t, err)
		ret.SetAnswerId(id)
		b, err := reply.Message().Marshal()
		must(t, err)
		p.write(b)
	}
}

// recordedRequest is what the connector of rpc_registration sent.
func recordedRequest(t testing.TB) rpc.RegisterRequest {
	t.Helper()
	id, err := tunnel.ParseID("f1f2f3f4-0001-4002-8003-000000000004")
	must(t, err)
	connector, err := tunnel.ParseConnectorID("0a0b0c0d-0e0f-4011-8213-141516171819")
	must(t, err)
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = 0xa5
	}
	return rpc.RegisterRequest{
		Auth:     tunnel.Credentials{AccountTag: "0123456789abcdef0123456789abcdef", Secret: secret, TunnelID: id},
		TunnelID: id,
		Options: rpc.Options{
			ConnectorID: connector,
			Features: []string{
				"allow_remote_config", "serialized_headers", "support_datagram_v2", "support_quic_eof", "management_logs",
			},
			Version:       "2026.8.2",
			Arch:          "linux_amd64",
			OriginLocalIP: netip.MustParseAddr("192.0.2.7"),
		},
	}
}

// compareRequests is cmp.Diff with the secret in the open.
func compareRequests(want, got rpc.RegisterRequest) string {
	return cmp.Diff(want, got,
		cmp.Transformer("secret", func(s tunnel.Secret) []byte { return []byte(s) }),
		cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty())
}

func (e recording) details(t testing.TB) rpc.ConnectionDetails {
	t.Helper()
	uuid, err := tunnel.ParseID(e.Client.UUID)
	must(t, err)
	return rpc.ConnectionDetails{UUID: uuid, Location: e.Client.Location, RemotelyManaged: e.Client.RemotelyManaged}
}

// refusal is what a handler returns to get the recorded error on the wire.
func (e recording) refusal() *tunnel.ConnError {
	switch e.ClientError {
	case "":
		return nil
	case rpc.CauseDuplicate:
		return &tunnel.ConnError{Reason: tunnel.ReasonDuplicate, Err: errors.New(rpc.CauseDuplicate)}
	default:
		retry := e.ClientErrorType == "*pogs.RetryableError"
		return &tunnel.ConnError{
			Reason: tunnel.ReasonRefused, Retryable: retry, RetryAfter: time.Duration(e.RetryAfter), Err: errors.New(e.ClientError),
		}
	}
}

// edge is a handler with prepared results.
type edge struct {
	register     func(context.Context, rpc.RegisterRequest) (rpc.ConnectionDetails, error)
	unregister   func(context.Context) error
	updateConfig func(context.Context, []byte) error
}

func (e edge) Register(ctx context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	return e.register(ctx, req)
}
func (e edge) Unregister(ctx context.Context) error { return e.unregister(ctx) }
func (e edge) UpdateLocalConfiguration(ctx context.Context, json []byte) error {
	return e.updateConfig(ctx, json)
}

func TestReplayConnector(t *testing.T) {
	for _, e := range loadRecordings(t, "rpc_registration") {
		t.Run(e.Name, func(t *testing.T) {
			near, far := pair(t)
			want := recordedRequest(t)
			handler := edge{
				register: func(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
					if diff := compareRequests(want, req); diff != "" {
						t.Errorf("Register got (-want +got):\n%s", diff)
					}
					if refusal := e.refusal(); refusal != nil {
						return rpc.ConnectionDetails{}, refusal
					}
					return e.details(t), nil
				},
				unregister: func(context.Context) error { return nil },
				updateConfig: func(context.Context, []byte) error {
					if e.UpdateLocalError != "" {
						return errors.New("cannot store configuration")
					}
					return nil
				},
			}
			done := make(chan error, 1)
			go func() { done <- rpc.ServeRegistration(t.Context(), near, handler) }()
			replayServer(t, e, "connector", newPeer(t, far))
			if err := <-done; err != nil {
				t.Errorf("ServeRegistration: %v", err)
			}
		})
	}
}

func TestReplayEdge(t *testing.T) {
	for _, e := range loadRecordings(t, "rpc_registration") {
		t.Run(e.Name, func(t *testing.T) {
			near, far := pair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				replayClient(t, e, "edge", newPeer(t, far))
			}()
			client := rpc.NewRegistrationClient(near)
			details, err := client.Register(t.Context(), recordedRequest(t))
			if refusal := e.refusal(); refusal != nil {
				var got *tunnel.ConnError
				if !errors.As(err, &got) {
					t.Fatalf("Register: error %v, want a ConnError", err)
				}
				text := func(err error) string { return fmt.Sprint(err) }
				if diff := cmp.Diff(
					refusal,
					got,
					cmp.Transformer("text", text),
				); diff != "" || got.RetryAfter != refusal.RetryAfter ||
					got.Retryable != refusal.Retryable {
					t.Errorf("Register error (-want +got):\n%s\n%+v", diff, got)
				}
			} else if diff := cmp.Diff(e.details(t), details); err != nil || diff != "" {
				t.Errorf("Register: %v (-want +got):\n%s", err, diff)
			}
			switch e.Name {
			case "register_ok_config_unregister":
				must(t, client.UpdateLocalConfiguration(t.Context(), []byte("{}")))
				must(t, client.Unregister(t.Context()))
			case "register_ok_pipelined":
				must(t, client.Unregister(t.Context()))
			case "update_local_configuration_fails":
				if err := client.UpdateLocalConfiguration(t.Context(), []byte("bad")); err == nil {
					t.Error("UpdateLocalConfiguration: no error")
				}
			}
			if err := client.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			<-done
		})
	}
}

// connector is a handler with a prepared result.
type connector func(context.Context, remoteconfig.Update) (int32, error)

func (c connector) RegisterUDPSession(context.Context, rpc.UDPSession) ([]byte, error) {
	return nil, rpc.ErrRegisterV3
}

func (c connector) UnregisterUDPSession(context.Context, [16]byte, string) error {
	return rpc.ErrUnregisterV3
}

func (c connector) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) { return c(ctx, u) }

func TestReplayUpdateConfiguration(t *testing.T) {
	for _, e := range loadRecordings(t, "rpc_update_configuration") {
		t.Run(e.Name, func(t *testing.T) {
			var rejection error
			if e.Result.Err != "<nil>" {
				rejection = &remoteconfig.RejectedError{Reason: e.Result.Err}
			}
			near, far := pair(t)
			handler := connector(func(_ context.Context, u remoteconfig.Update) (int32, error) {
				if u.Version != e.Call.Version || string(u.Document) != e.Call.Config {
					t.Errorf("Apply(%d, %s), want (%d, %s)", u.Version, u.Document, e.Call.Version, e.Call.Config)
				}
				return e.Result.Applied, rejection
			})
			served := make(chan error, 1)
			go func() { served <- rpc.ServeConnector(t.Context(), near, handler) }()
			replayServer(t, e, "edge", newPeer(t, far))
			if err := <-served; err != nil {
				t.Errorf("ServeConnector: %v", err)
			}

			near, far = pair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				replayClient(t, e, "connector", newPeer(t, far))
			}()
			client := rpc.NewConnectorClient(near)
			applied, err := client.Apply(t.Context(), remoteconfig.Update{Version: e.Call.Version, Document: []byte(e.Call.Config)})
			var rejected *remoteconfig.RejectedError
			if rejection != nil && (!errors.As(err, &rejected) || rejected.Reason != e.Result.Err) || rejection == nil && err != nil {
				t.Errorf("Apply: error %v, want %v", err, rejection)
			}
			if applied != e.Result.Applied {
				t.Errorf("Apply = %d, want %d", applied, e.Result.Applied)
			}
			must(t, client.Close())
			<-done
		})
	}
}

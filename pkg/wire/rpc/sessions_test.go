package rpc_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// sessions is a connector with prepared results of session calls.
type sessions struct {
	connector
	register   func(rpc.UDPSession) ([]byte, error)
	unregister func(id [16]byte, message string) error
}

func (s sessions) RegisterUDPSession(_ context.Context, req rpc.UDPSession) ([]byte, error) {
	return s.register(req)
}

func (s sessions) UnregisterUDPSession(_ context.Context, id [16]byte, message string) error {
	return s.unregister(id, message)
}

// udpSession has the parameters of the recorded call, with the address as it was sent.
func (e recording) udpSession(t testing.TB) rpc.UDPSession {
	t.Helper()
	s := rpc.UDPSession{ID: e.sessionID(t), Idle: e.Call.Idle, Trace: e.Call.Trace}
	addr, ok := netip.AddrFromSlice(unhex(t, e.Call.DstIP))
	if !ok {
		t.Fatalf("recorded address %q", e.Call.DstIP)
	}
	s.Dest = netip.AddrPortFrom(addr, e.Call.DstPort)
	return s
}

func (e recording) sessionID(t testing.TB) [16]byte {
	t.Helper()
	id, err := tunnel.ParseID(e.Call.SessionID)
	must(t, err)
	return id
}

// recordedFailure is the text of the exception of the recorded server.
func (e recording) recordedFailure(t testing.TB) error {
	t.Helper()
	for _, w := range e.Writes {
		if w.Message != "return" {
			continue
		}
		ret, err := decodeMessage(t, unhex(t, w.Hex)).Return()
		must(t, err)
		if a := contentOf(t, ret); a.Exception != "" {
			return errors.New(a.Exception)
		}
	}
	return nil
}

// sameParams compares a call with the recorded one of the same method.
func sameParams(t testing.TB, e recording, caller string, call rpccp.Call) {
	t.Helper()
	content := func(c rpccp.Call) string {
		p, err := c.Params()
		must(t, err)
		ptr, err := p.Content()
		must(t, err)
		b, err := capnp.Canonicalize(ptr.Struct())
		must(t, err)
		return hex.EncodeToString(b)
	}
	for _, b := range e.messages(t, caller) {
		m := decodeMessage(t, b)
		if m.Which() != rpccp.Message_Which_call {
			continue
		}
		recorded, err := m.Call()
		must(t, err)
		if recorded.InterfaceId() != call.InterfaceId() || recorded.MethodId() != call.MethodId() {
			t.Errorf("call of method %x.%d, want %x.%d", call.InterfaceId(), call.MethodId(), recorded.InterfaceId(), recorded.MethodId())
		}
		if diff := cmp.Diff(content(recorded), content(call)); diff != "" {
			t.Errorf("params differ (-recorded +ours):\n%s", diff)
		}
	}
}

// TestReplaySessionsServed checks that the recorded caller's messages get the recorded returns, on either end.
func TestReplaySessionsServed(t *testing.T) {
	for _, e := range loadRecordings(t, "rpc_udp_session_v2") {
		t.Run(e.Name, func(t *testing.T) {
			near, far := pair(t)
			handler := sessions{
				register: func(got rpc.UDPSession) ([]byte, error) {
					want := e.udpSession(t)
					want.Dest = netip.AddrPortFrom(want.Dest.Addr().Unmap(), want.Dest.Port())
					if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
						t.Errorf("session (-want +got):\n%s", diff)
					}
					if e.Result.Err != "" {
						return nil, errors.New(e.Result.Err)
					}
					return unhex(t, e.Result.Spans), nil
				},
				unregister: func(id [16]byte, message string) error {
					if id != e.sessionID(t) || message != e.Call.Message {
						t.Errorf("unregister(%x, %q)", id, message)
					}
					return e.recordedFailure(t)
				},
			}
			served := make(chan error, 1)
			caller := e.Writes[0].From
			go func() {
				if caller == "edge" {
					served <- rpc.ServeConnector(t.Context(), near, handler)
					return
				}
				served <- rpc.ServeSessionEnds(t.Context(), near, func(_ context.Context, id [16]byte, message string) error {
					return handler.unregister(id, message)
				})
			}()
			replayServer(t, e, caller, newPeer(t, far))
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
}

// TestReplaySessionsCalled checks that our calls equal the recorded ones, and that the recorded returns are understood.
func TestReplaySessionsCalled(t *testing.T) {
	for _, e := range loadRecordings(t, "rpc_udp_session_v2") {
		t.Run(e.Name, func(t *testing.T) {
			near, far := pair(t)
			caller, server := "edge", "connector"
			if e.Writes[0].From == server {
				caller, server = server, caller
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				replayClient(t, e, server, newPeer(t, far))
			}()
			switch {
			case e.Call.DstIP != "":
				client := rpc.NewConnectorClient(near)
				spans, err := client.RegisterUDPSession(t.Context(), e.udpSession(t))
				var refused *rpc.SessionError
				if e.Result.Err == "" && err != nil || e.Result.Err != "" && (!errors.As(err, &refused) || refused.Detail != e.Result.Err) {
					t.Errorf("RegisterUDPSession: %v, want %q", err, e.Result.Err)
				}
				if got := hex.EncodeToString(spans); got != e.Result.Spans {
					t.Errorf("spans = %s, want %s", got, e.Result.Spans)
				}
				must(t, client.Close())
			case caller == "edge":
				client := rpc.NewConnectorClient(near)
				wantFailure(t, e, client.UnregisterUDPSession(t.Context(), e.sessionID(t), e.Call.Message))
				must(t, client.Close())
			default:
				client := rpc.NewSessionClient(near)
				wantFailure(t, e, client.UnregisterUDPSession(t.Context(), e.sessionID(t), e.Call.Message))
				must(t, client.Close())
			}
			<-done
		})
	}
}

func wantFailure(t *testing.T, e recording, err error) {
	t.Helper()
	want := e.recordedFailure(t)
	if (want == nil) != (err == nil) || want != nil && err.Error() != "unregister udp session: "+want.Error() {
		t.Errorf("UnregisterUDPSession: %v, want %v", err, want)
	}
}

// TestSessionsOfV3: a connection with datagram v3 responds as the reference does: one refusal in the result, one
// exception.
func TestSessionsOfV3(t *testing.T) {
	near, far := pair(t)
	served := make(chan error, 1)
	go func() { served <- rpc.ServeConnector(t.Context(), near, connector(nil)) }()
	client := rpc.NewConnectorClient(far)
	_, err := client.RegisterUDPSession(t.Context(), rpc.UDPSession{Dest: netip.MustParseAddrPort("[2001:db8::1]:53"), Idle: time.Second})
	var refused *rpc.SessionError
	if !errors.As(err, &refused) || refused.Detail != "datagram v3 does not support RegisterUdpSession RPC" {
		t.Errorf("RegisterUDPSession: %v", err)
	}
	err = client.UnregisterUDPSession(t.Context(), [16]byte{}, "x")
	if err == nil || err.Error() != "unregister udp session: datagram v3 does not support UnregisterUdpSession RPC" {
		t.Errorf("UnregisterUDPSession: %v", err)
	}
	must(t, client.Close())
	if err := <-served; err != nil {
		t.Errorf("ServeConnector: %v", err)
	}
}

// TestEdgeRegistersNothing: a connector that registers a session at the edge gets an exception, and the stream stays usable.
func TestEdgeRegistersNothing(t *testing.T) {
	near, far := pair(t)
	ended := make(chan string, 1)
	served := make(chan error, 1)
	go func() {
		served <- rpc.ServeSessionEnds(t.Context(), near, func(_ context.Context, _ [16]byte, message string) error {
			ended <- message
			return nil
		})
	}()
	client := rpc.NewConnectorClient(far)
	if _, err := client.RegisterUDPSession(t.Context(), rpc.UDPSession{Dest: netip.MustParseAddrPort("192.0.2.1:53")}); err == nil {
		t.Error("RegisterUDPSession at an edge: no error")
	}
	must(t, client.UnregisterUDPSession(t.Context(), [16]byte{1}, "idle"))
	if got := <-ended; got != "idle" {
		t.Errorf("message = %q", got)
	}
	must(t, client.Close())
	if err := <-served; err != nil {
		t.Errorf("ServeSessionEnds: %v", err)
	}
}

package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	capnprpc "capnproto.org/go/capnp/v3/rpc"
	"capnproto.org/go/capnp/v3/rpc/transport"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

// start serves h on one end of a connection. The returned function ends the service and gives its result.
func start(t *testing.T, h rpc.RegistrationHandler) (far net.Conn, stop func() error) {
	t.Helper()
	near, far := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rpc.ServeRegistration(ctx, near, h) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return far, stop
}

func TestRegistration(t *testing.T) {
	want := recordedRequest(t)
	want.Index = 3
	want.Options.ReplaceExisting = true
	want.Options.CompressionQuality = 7
	want.Options.NumPreviousAttempts = 255
	want.Options.OriginLocalIP = netip.MustParseAddr("2001:db8::7")
	details := rpc.ConnectionDetails{UUID: [16]byte{1, 2, 3}, Location: "LIS01", RemotelyManaged: true}
	config := bytes.Repeat([]byte("c"), 1<<20)
	var unregistered atomic.Bool
	far, _ := start(t, edge{
		register: func(_ context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
			if diff := compareRequests(want, req); diff != "" {
				t.Errorf("Register got (-want +got):\n%s", diff)
			}
			return details, nil
		},
		unregister: func(context.Context) error {
			unregistered.Store(true)
			return nil
		},
		updateConfig: func(_ context.Context, json []byte) error {
			if !bytes.Equal(json, config) {
				t.Errorf("UpdateLocalConfiguration got %d bytes, want %d", len(json), len(config))
			}
			return nil
		},
	})
	client := rpc.NewRegistrationClient(far)
	for range 3 {
		got, err := client.Register(t.Context(), want)
		if diff := cmp.Diff(details, got); err != nil || diff != "" {
			t.Fatalf("Register: %v (-want +got):\n%s", err, diff)
		}
	}
	must(t, client.UpdateLocalConfiguration(t.Context(), config))
	must(t, client.Unregister(t.Context()))
	if !unregistered.Load() {
		t.Error("Unregister did not reach the edge")
	}
	must(t, client.Close())
	<-client.Done()
	if err := client.Unregister(t.Context()); err == nil {
		t.Error("Unregister after Close: no error")
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		handler error
		want    tunnel.ConnError
		text    string
	}{
		"duplicate": {
			&tunnel.ConnError{Reason: tunnel.ReasonDuplicate, Err: errors.New("held by another worker")},
			tunnel.ConnError{Reason: tunnel.ReasonDuplicate},
			"duplicate: EDUPCONN",
		},
		"retry later": {
			&tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: 5 * time.Second, Err: errors.New("busy")},
			tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: 5 * time.Second},
			"refused: busy",
		},
		"permanent without cause": {
			&tunnel.ConnError{Reason: tunnel.ReasonRefused},
			tunnel.ConnError{Reason: tunnel.ReasonRefused},
			"refused: refused",
		},
		"negative delay": {
			&tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, RetryAfter: -1, Err: errors.New("x")},
			tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true},
			"refused: x",
		},
		"exception": {
			errors.New("store is away"),
			tunnel.ConnError{Reason: tunnel.ReasonRPC},
			"rpc: register connection: store is away",
		},
	} {
		t.Run(name, func(t *testing.T) {
			far, _ := start(t, edge{register: func(context.Context, rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
				return rpc.ConnectionDetails{}, tc.handler
			}})
			client := rpc.NewRegistrationClient(far)
			defer func() { must(t, client.Close()) }()
			_, err := client.Register(t.Context(), recordedRequest(t))
			var got *tunnel.ConnError
			if !errors.As(err, &got) {
				t.Fatalf("Register: error %v, want a ConnError", err)
			}
			if got.Reason != tc.want.Reason || got.Retryable != tc.want.Retryable || got.RetryAfter != tc.want.RetryAfter || err.Error() != tc.text {
				t.Errorf("Register: error %q (%+v), want %q (%+v)", err, got, tc.text, tc.want)
			}
		})
	}
}

// TestCallsRunConcurrently: a call that blocks in its handler holds up no other one, and ends with its caller's
// deadline.
func TestCallsRunConcurrently(t *testing.T) {
	entered := make(chan struct{})
	far, _ := start(t, edge{
		register: func(ctx context.Context, _ rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
			close(entered)
			<-ctx.Done()
			return rpc.ConnectionDetails{}, ctx.Err()
		},
		unregister: func(context.Context) error { return nil },
	})
	client := rpc.NewRegistrationClient(far)
	ctx, cancel := context.WithCancel(t.Context())
	registered := make(chan error, 1)
	go func() {
		_, err := client.Register(ctx, recordedRequest(t))
		registered <- err
	}()
	<-entered
	must(t, client.Unregister(t.Context()))
	cancel()
	err := <-registered
	if tunnel.ReasonOf(err) != tunnel.ReasonRPC || !errors.Is(err, context.Canceled) {
		t.Errorf("Register: error %v, want ReasonRPC with context.Canceled", err)
	}
	must(t, client.Unregister(t.Context()))
	must(t, client.Close())
}

func TestDeadlineAgainstSilentEdge(t *testing.T) {
	near, far := pair(t)
	go func() { _, _ = io.Copy(io.Discard, far) }()
	client := rpc.NewRegistrationClient(near)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := client.Unregister(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Unregister: error %v, want DeadlineExceeded", err)
	}
	must(t, client.Close())
}

// TestDeadlineAgainstStuckEdge: the edge does not even read, on a pipe without any buffer.
func TestDeadlineAgainstStuckEdge(t *testing.T) {
	near, far := net.Pipe()
	defer func() { must(t, far.Close()) }()
	client := rpc.NewRegistrationClient(near)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := client.Register(ctx, recordedRequest(t))
	if tunnel.ReasonOf(err) != tunnel.ReasonRPC || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Register: error %v, want ReasonRPC with DeadlineExceeded", err)
	}
	must(t, client.Close())
}

func TestEdgeGoesAway(t *testing.T) {
	near, far := pair(t)
	client := rpc.NewRegistrationClient(near)
	p := newPeer(t, far)
	go func() {
		p.next()
		_ = far.Close() // the point of the test
	}()
	_, err := client.Register(t.Context(), recordedRequest(t))
	if tunnel.ReasonOf(err) != tunnel.ReasonRPC {
		t.Errorf("Register: error %v, want ReasonRPC", err)
	}
	<-client.Done()
	must(t, client.Close())
}

func TestServeEndsWithContext(t *testing.T) {
	running := make(chan struct{})
	var ended atomic.Bool
	far, stop := start(t, edge{register: func(ctx context.Context, _ rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
		close(running)
		<-ctx.Done()
		ended.Store(true)
		return rpc.ConnectionDetails{}, ctx.Err()
	}})
	client := rpc.NewRegistrationClient(far)
	registered := make(chan error, 1)
	go func() {
		_, err := client.Register(t.Context(), recordedRequest(t))
		registered <- err
	}()
	<-running
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ServeRegistration: error %v, want context.Canceled", err)
	}
	if !ended.Load() {
		t.Error("ServeRegistration returned before its handler")
	}
	if err := <-registered; tunnel.ReasonOf(err) != tunnel.ReasonRPC {
		t.Errorf("Register: error %v, want ReasonRPC", err)
	}
	must(t, client.Close())
}

// libraryClient is a caller that is not ours: it may send what our client never does.
func libraryClient(t *testing.T, far net.Conn) capnp.Client {
	t.Helper()
	conn := capnprpc.NewConn(transport.NewStream(far), nil)
	boot := conn.Bootstrap(t.Context())
	t.Cleanup(func() {
		boot.Release()
		_ = conn.Close() // the server may have closed first
	})
	return boot
}

func TestWrongLengths(t *testing.T) {
	for name, lengths := range map[string][2]int{"tunnel id": {15, 16}, "no tunnel id": {0, 16}, "connector id": {16, 17}} {
		t.Run(name, func(t *testing.T) {
			far, _ := start(t, edge{})
			server := schema.RegistrationServer(libraryClient(t, far))
			f, release := server.RegisterConnection(t.Context(), func(p schema.RegistrationServer_registerConnection_Params) error {
				options, err := p.NewOptions()
				must(t, err)
				client, err := options.NewClient()
				must(t, err)
				must(t, client.SetClientId(make([]byte, lengths[1])))
				return p.SetTunnelId(make([]byte, lengths[0]))
			})
			defer release()
			if _, err := f.Struct(); err == nil {
				t.Error("registerConnection: no exception")
			}
		})
	}
}

// TestRetiredMethods: methods of the retired interface are unimplemented; the connection lives on.
func TestRetiredMethods(t *testing.T) {
	far, _ := start(t, edge{unregister: func(context.Context) error { return nil }})
	boot := libraryClient(t, far)
	info, releaseInfo := schema.TunnelServer(boot).GetServerInfo(t.Context(), nil)
	defer releaseInfo()
	if _, err := info.Struct(); err == nil {
		t.Error("getServerInfo: no exception")
	}
	f, release := schema.RegistrationServer(boot).UnregisterConnection(t.Context(), nil)
	defer release()
	if _, err := f.Struct(); err != nil {
		t.Errorf("unregisterConnection: %v", err)
	}
}

// TestForeignServer: an edge made of the library alone, with a connection id of the wrong length.
func TestForeignServer(t *testing.T) {
	near, far := pair(t)
	conn := capnprpc.NewConn(transport.NewStream(far), &capnprpc.Options{
		BootstrapClient: capnp.Client(schema.RegistrationServer_ServerToClient(foreignEdge{})),
	})
	client := rpc.NewRegistrationClient(near)
	if _, err := client.Register(t.Context(), recordedRequest(t)); tunnel.ReasonOf(err) != tunnel.ReasonRPC {
		t.Errorf("Register: error %v, want ReasonRPC", err)
	}
	// Both methods below leave their results null, as some servers do.
	must(t, client.UpdateLocalConfiguration(t.Context(), nil))
	must(t, client.Unregister(t.Context()))
	must(t, client.Close())
	<-conn.Done()
}

type foreignEdge struct{}

func (foreignEdge) RegisterConnection(_ context.Context, call schema.RegistrationServer_registerConnection) error {
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	details, err := response.Result().NewConnectionDetails()
	if err != nil {
		return err
	}
	return details.SetUuid(make([]byte, 15))
}

func (foreignEdge) UnregisterConnection(context.Context, schema.RegistrationServer_unregisterConnection) error {
	return nil
}

func (foreignEdge) UpdateLocalConfiguration(context.Context, schema.RegistrationServer_updateLocalConfiguration) error {
	return nil
}

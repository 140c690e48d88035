package udp

import (
	"context"
	"errors"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// call registers a session as the edge's RPC does.
func call(s *Session, ctx context.Context, n byte) <-chan error { //nolint:revive // the test's context is not the point
	done := make(chan error, 1)
	go func() {
		_, err := s.RegisterUDPSession(ctx, rpc.UDPSession{ID: [16]byte{n}, Dest: dest("192.0.2.1:53")})
		done <- err
	}()
	return done
}

// nextEnd serves the next stream of the connector, which reports the end of a session.
func nextEnd(t *testing.T, edge transport.Session) (id datagram.ID, message string) {
	t.Helper()
	st, err := edge.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, stream.SignatureSize)
	for n := 0; n < len(b); {
		m, err := st.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if kind, err := stream.Detect(b); err != nil || kind != stream.KindRPC {
		t.Fatalf("stream of kind %v, %v", kind, err)
	}
	err = rpc.ServeSessionEnds(t.Context(), rpc.StreamConn(st), func(_ context.Context, i [16]byte, m string) error {
		id, message = i, m
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id, message
}

func TestV2(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, s := l.serve(V2, 0)
	done := call(s, t.Context(), 4)
	p := l.nextFlow()
	p.accept()
	if err := testkit.Receive(t, "no response", done); err != nil {
		t.Fatal(err)
	}
	send(t, edge, datagram.AppendV2UDP(nil, datagram.ID{4}, []byte("question")), nil)
	if m := p.want(packet.Payload); string(m.Data) != "question" {
		t.Errorf("payload = %q", m.Data)
	}
	p.say(packet.Message{Type: packet.Payload, ID: datagram.ID{4}, Data: []byte("response")})
	d, err := datagram.ParseV2(next(t, edge))
	if err != nil || d.Type != datagram.V2UDP || d.ID != (datagram.ID{4}) || string(d.Data) != "response" {
		t.Errorf("response = %+v, %v", d, err)
	}
	p.say(packet.Message{Type: packet.Ended, ID: datagram.ID{4}, Text: "session idle for 3m30s"})
	if id, message := nextEnd(t, edge); id != (datagram.ID{4}) || message != "session idle for 3m30s" {
		t.Errorf("end of %s: %q", id, message)
	}

	done = call(s, t.Context(), 5)
	p.accept()
	if err := testkit.Receive(t, "no response", done); err != nil {
		t.Fatal(err)
	}
	if err := s.UnregisterUDPSession(t.Context(), [16]byte{5}, "closed by eyeball"); err != nil {
		t.Errorf("UnregisterUDPSession = %v", err)
	}
	if m := p.want(packet.Unregister); m.ID != (datagram.ID{5}) || m.Text != "closed by eyeball" {
		t.Errorf("end = %+v", m)
	}
	if err := s.UnregisterUDPSession(t.Context(), [16]byte{6}, "unknown"); err != nil {
		t.Errorf("UnregisterUDPSession of an unknown session = %v", err)
	}
}

func TestV2Refused(t *testing.T) {
	l := newLab(t, Limits{Sessions: 1, QueueBytes: 1 << 20}, "p")
	_, s := l.serve(V2, 0)
	first := call(s, t.Context(), 1)
	p := l.nextFlow()
	m := p.want(packet.Register)
	if err := testkit.Receive(t, "no response", call(s, t.Context(), 2)); err == nil || err.Error() != limited {
		t.Errorf("one session too many = %v", err)
	}
	p.say(packet.Message{Type: packet.Registered, ID: m.ID, Result: datagram.ResultError, Text: "no route"})
	if err := testkit.Receive(t, "no response", first); err == nil || err.Error() != "no route" {
		t.Errorf("refused by the proxy = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := call(s, ctx, 3)
	p.want(packet.Register)
	cancel()
	if err := testkit.Receive(t, "no response", given); !errors.Is(err, context.Canceled) {
		t.Errorf("given up = %v", err)
	}
	if err := s.UnregisterUDPSession(t.Context(), [16]byte{3}, "bye"); err != nil {
		t.Fatal(err)
	}
	if m := p.want(packet.Unregister); m.ID != (datagram.ID{3}) || m.Text != "bye" { // and nothing before it
		t.Errorf("end = %+v", m)
	}
	if l.live() != 0 {
		t.Errorf("%d sessions are left", l.live())
	}
}

// TestGivenUpCallLeavesANewerOne gives up the first of two calls for one session.
func TestGivenUpCallLeavesANewerOne(t *testing.T) {
	l := newLab(t, roomy, "p")
	_, s := l.serve(V2, 0)
	old := make(chan packet.Message, 1)
	if err := s.register(datagram.ID{1}, dest("192.0.2.1:53"), 0, nil, old); err != nil {
		t.Fatal(err)
	}
	p := l.nextFlow()
	p.want(packet.Register)
	done := call(s, t.Context(), 1)
	p.want(packet.Register)
	s.giveUp(datagram.ID{1}, old)
	p.say(packet.Message{Type: packet.Registered, ID: datagram.ID{1}})
	if err := testkit.Receive(t, "no response", done); err != nil {
		t.Errorf("the newer call = %v", err)
	}
}

// TestProxyHasLostTheSession: the session is registered again, and the edge is not told.
func TestProxyHasLostTheSession(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, s := l.serve(V2, 0)
	done := call(s, t.Context(), 1)
	p := l.nextFlow()
	p.accept()
	if err := testkit.Receive(t, "no response", done); err != nil {
		t.Fatal(err)
	}
	p.say(packet.Message{Type: packet.Unknown, ID: datagram.ID{9}})
	p.say(packet.Message{Type: packet.Unknown, ID: datagram.ID{1}})
	if m := p.accept(); m.ID != (datagram.ID{1}) || m.Dest != dest("192.0.2.1:53") {
		t.Errorf("registered again: %+v", m)
	}
	send(t, edge, datagram.AppendV2UDP(nil, datagram.ID{1}, []byte("on")), nil)
	if m := p.want(packet.Payload); string(m.Data) != "on" {
		t.Errorf("payload = %q", m.Data)
	}
}

func TestV2WithoutProxy(t *testing.T) {
	l := newLab(t, roomy)
	edge, s := l.serve(V2, 0)
	if err := testkit.Receive(t, "no response", call(s, t.Context(), 1)); !errors.Is(err, errNoProxy) {
		t.Errorf("RegisterUDPSession = %v", err)
	}
	send(t, edge, datagram.AppendV2UDP(nil, datagram.ID{1}, nil), nil)
	for _, b := range [][]byte{{}, {0}, {7}, {2, 2}, append(make([]byte, 30), 3)} {
		send(t, edge, b, nil)
	}
	testkit.Eventually(l.t, "drops", func() bool {
		return l.dropped(UnknownSession) == 1 && l.dropped(Malformed) == 4 && l.dropped(Unexpected) == 1
	})
}

func TestEndFailsWaitingCalls(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, s := l.serve(V2, 0)
	done := call(s, t.Context(), 1)
	l.nextFlow().want(packet.Register)
	if err := edge.CloseWithError(0, "over"); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Receive(t, "no response", done); !errors.Is(err, errNotHere) {
		t.Errorf("RegisterUDPSession = %v", err)
	}
	if err := testkit.Receive(t, "no response", call(s, t.Context(), 2)); !errors.Is(err, errNotHere) {
		t.Errorf("RegisterUDPSession after the end = %v", err)
	}
}

func TestCallsOfV3(t *testing.T) {
	l := newLab(t, roomy, "p")
	_, s := l.serve(V3, 0)
	if err := testkit.Receive(t, "no response", call(s, t.Context(), 1)); !errors.Is(err, rpc.ErrRegisterV3) {
		t.Errorf("RegisterUDPSession = %v", err)
	}
	if err := s.UnregisterUDPSession(t.Context(), [16]byte{}, ""); !errors.Is(err, rpc.ErrUnregisterV3) {
		t.Errorf("UnregisterUDPSession = %v", err)
	}
}

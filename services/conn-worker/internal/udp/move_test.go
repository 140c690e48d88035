package udp

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func TestChoiceIsEverybodysAndMovesLittle(t *testing.T) {
	three := []tunnel.ProxyID{"a", "b", "c"}
	count := map[tunnel.ProxyID]int{}
	for i := range 3000 {
		key := fmt.Appendf(nil, "key %d", i)
		first, _ := choose(three, key)
		count[first]++
		if other, _ := choose([]tunnel.ProxyID{"c", "b", "a"}, key); other != first {
			t.Fatalf("the order of proxies matters: %s, %s", first, other)
		}
		if less, _ := choose([]tunnel.ProxyID{"a", "c"}, key); first != "b" && less != first {
			t.Fatalf("key %d moved from %s to %s though its proxy stayed", i, first, less)
		}
	}
	for id, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("proxy %s has %d of 3000", id, n)
		}
	}
	if _, ok := choose(nil, nil); ok {
		t.Error("a choice among none")
	}
}

// TestLinkBreaks: the session is registered again at the same proxy, and the edge learns nothing.
func TestProxyIsLost(t *testing.T) {
	l := newLab(t, roomy, "a", "b")
	edge, _ := l.serve(V3, 0)
	register(t, edge, registration(1, ""))
	first := l.nextFlow()
	first.accept()
	wantResponse(t, edge, datagram.ID{1}, datagram.ResultOK)
	l.refuse(first.flow.Proxy)
	first.end <- link.ErrLost
	second := l.nextFlow()
	if second.flow.Proxy == first.flow.Proxy {
		t.Fatalf("the lost proxy %s again", first.flow.Proxy)
	}
	if m := second.accept(); m.ID != (datagram.ID{1}) || m.Dest != dest("192.0.2.1:53") {
		t.Errorf("registration = %+v", m)
	}
	payload(t, edge, datagram.ID{1}, "on")
	second.want(packet.Payload)
	second.say(packet.Message{Type: packet.Payload, ID: datagram.ID{1}, Data: []byte("response")})
	if _, b, err := datagram.ParsePayload(next(t, edge)); err != nil || string(b) != "response" {
		t.Errorf("after the move = %q, %v: the edge got a second response to its registration", b, err)
	}
}

func TestProxyComesLate(t *testing.T) {
	l := newLab(t, roomy)
	edge, _ := l.serve(V3, 0)
	register(t, edge, registration(1, "hello"))
	testkit.Eventually(l.t, "dropped", func() bool { return l.dropped(NoProxy) == 1 })
	l.setProxies("a")
	l.nextFlow().accept()
	wantResponse(t, edge, datagram.ID{1}, datagram.ResultOK)
}

// TestLeavingProxy keeps its sessions until they end, gets no new ones, and its flow ends with the last of them.
func TestLeavingProxy(t *testing.T) {
	l := newLab(t, roomy, "a")
	edge, _ := l.serve(V3, 0)
	register(t, edge, registration(1, ""))
	a := l.nextFlow()
	a.accept()
	wantResponse(t, edge, datagram.ID{1}, datagram.ResultOK)
	l.setProxies("b")
	register(t, edge, registration(2, ""))
	l.nextFlow().accept()
	wantResponse(t, edge, datagram.ID{2}, datagram.ResultOK)
	payload(t, edge, datagram.ID{1}, "still there")
	a.want(packet.Payload)
	a.say(packet.Message{Type: packet.Ended, ID: datagram.ID{1}})
	testkit.Eventually(l.t, "the flow ends", func() bool { return a.flow.Stream.Context().Err() != nil })
}

// TestMoveBetweenConnections: a registration on another connection of the worker moves the session there; the proxy is not told
// on the old flow, and payload may still come on any connection.
func TestMoveBetweenConnections(t *testing.T) {
	l := newLab(t, roomy, "p")
	one, _ := l.serve(V3, 1)
	two, _ := l.serve(V3, 2)
	register(t, one, registration(1, ""))
	old := l.nextFlow()
	old.accept()
	wantResponse(t, one, datagram.ID{1}, datagram.ResultOK)
	register(t, two, registration(1, ""))
	moved := l.nextFlow()
	moved.accept()
	wantResponse(t, two, datagram.ID{1}, datagram.ResultOK)
	if l.live() != 1 {
		t.Errorf("%d sessions, want 1", l.live())
	}
	payload(t, one, datagram.ID{1}, "on the old one")
	if m := moved.want(packet.Payload); string(m.Data) != "on the old one" {
		t.Errorf("payload = %q", m.Data)
	}
	moved.say(packet.Message{Type: packet.Payload, ID: datagram.ID{1}, Data: []byte("response")})
	if _, b, err := datagram.ParsePayload(next(t, two)); err != nil || string(b) != "response" {
		t.Errorf("response = %q, %v", b, err)
	}
	// The proxy may have received the two registrations in the other order and use the old flow.
	old.say(packet.Message{Type: packet.Payload, ID: datagram.ID{1}, Data: []byte("response on the old flow")})
	if _, b, err := datagram.ParsePayload(next(t, two)); err != nil || string(b) != "response on the old flow" {
		t.Errorf("response = %q, %v", b, err)
	}
	select {
	case m := <-old.messages:
		t.Errorf("the old flow got %+v", m)
	default:
	}
}

// TestMovedSessionComesBack: the connection that a session moved to ends, and the edge goes on with the other one. It does so when
// it has registered the session over both and the responses overtook each other.
func TestMovedSessionComesBack(t *testing.T) {
	for name, version := range map[string]Version{"v2": V2, "v3": V3} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, roomy, "p")
			one, first := l.serve(version, 1)
			two, second := l.serve(version, 2)
			id, to := datagram.ID{1}, dest("192.0.2.1:53")
			for _, s := range []*Session{first, second} {
				if err := s.register(id, to, 0, nil, make(chan packet.Message, 1)); err != nil {
					t.Fatal(err)
				}
			}
			back, other := l.nextFlow(), l.nextFlow()
			if back.flow.Meta.Index != 1 {
				back = other
			}
			back.want(packet.Register)
			if err := two.CloseWithError(0, "over"); err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(l.t, "the session is left behind", func() bool { return l.live() == 0 })
			b := datagram.AppendV2UDP(nil, id, []byte("on"))
			if version == V3 {
				b, _ = datagram.AppendPayload(nil, id, []byte("on"))
			}
			send(t, one, b, nil)
			send(t, one, b, nil)
			if m := back.want(packet.Register); m.ID != id || m.Dest != to || string(m.Data) != "on" {
				t.Errorf("registered again: %+v", m)
			}
			back.want(packet.Payload)
			if l.dropped(UnknownSession) != 0 || l.live() != 1 {
				t.Errorf("%d dropped, %d sessions, want none and 1", l.dropped(UnknownSession), l.live())
			}
		})
	}
}

// TestRegisteredOnTwoConnectionsAtOnce: an edge that waits too long for a response registers a session on a second connection, and may
// repeat the registration on the first one at the same moment. Whatever order the two come in, one of the connections has the session.
func TestRegisteredOnTwoConnectionsAtOnce(t *testing.T) {
	l := newLab(t, Limits{Sessions: 100, QueueBytes: 64 << 20}, "p")
	_, one := l.serve(V3, 1)
	_, two := l.serve(V3, 2)
	id, to := datagram.ID{1}, dest("192.0.2.1:53")
	for range 2000 {
		var both sync.WaitGroup
		for _, s := range []*Session{one, two} {
			both.Go(func() {
				if err := s.register(id, to, 0, nil, nil); err != nil && !errors.Is(err, errNotHere) {
					t.Error(err)
				}
			})
		}
		both.Wait()
		l.drain()
		one.payload(id, []byte("payload"))
		if n := l.dropped(UnknownSession); n != 0 || l.live() != 1 {
			t.Fatalf("%d payloads dropped, %d sessions, want none and 1", n, l.live())
		}
	}
}

// TestLeftSessionsAreForgotten bounds what connections leave behind.
func TestLeftSessionsAreForgotten(t *testing.T) {
	l := newLab(t, Limits{Sessions: 2, QueueBytes: 1 << 20}, "p")
	now := time.Now()
	s := l.relay.Session(nil, link.Meta{}, V3)
	for i := range byte(3) {
		h := home{id: datagram.ID{i}}
		l.relay.settle(h, s)
		l.relay.leaveBehind(h, s, &session{idle: time.Second, used: now})
	}
	if n := len(l.relay.left); n != 2 {
		t.Errorf("%d sessions are remembered, want 2", n)
	}
	l.relay.forgetLeft(now.Add(2 * time.Second))
	if n := len(l.relay.left); n != 2 {
		t.Errorf("%d sessions are remembered for their time, want 2", n)
	}
	l.relay.forgetLeft(now.Add(2*time.Second + 1))
	if n := len(l.relay.left); n != 0 {
		t.Errorf("%d sessions are remembered for too long, want none", n)
	}
}

// TestRefusedAgain: in version 2 the edge gets a message when a session could not be moved.
func TestRefusedAgain(t *testing.T) {
	l := newLab(t, roomy, "a", "b")
	edge, s := l.serve(V2, 0)
	done := call(s, t.Context(), 1)
	first := l.nextFlow()
	first.accept()
	if err := testkit.Receive(t, "no response", done); err != nil {
		t.Fatal(err)
	}
	l.refuse(first.flow.Proxy)
	first.end <- link.ErrLost
	second := l.nextFlow()
	m := second.want(packet.Register)
	second.say(packet.Message{Type: packet.Registered, ID: m.ID, Result: datagram.ResultTooManyFlows})
	if id, message := nextEnd(t, edge); id != (datagram.ID{1}) || message != limited {
		t.Errorf("end of %s: %q", id, message)
	}
}

// TestBrokenFlow: bytes that are no messages end the flow, not the session.
func TestBrokenFlow(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, _ := l.serve(V3, 0)
	register(t, edge, registration(1, ""))
	p := l.nextFlow()
	p.accept()
	wantResponse(t, edge, datagram.ID{1}, datagram.ResultOK)
	if _, err := p.flow.Stream.Write([]byte{0, 3, byte(packet.Payload), 1, 2}); err == nil {
		t.Error("garbage was taken")
	}
	p.end <- link.ErrEdge
	l.nextFlow().accept()
}

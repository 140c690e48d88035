package udp

import (
	"fmt"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
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
	l.eventually("dropped", func() bool { return l.dropped(NoProxy) == 1 })
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
	l.eventually("the flow ends", func() bool { return a.flow.Stream.Context().Err() != nil })
}

// TestMoveBetweenConnections: a registration on another connection of the worker moves the session there, without a word
// to the proxy on the old one; payload may still come on any.
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

// TestRefusedAgain: in version 2 the edge gets a message when a session could not be moved.
func TestRefusedAgain(t *testing.T) {
	l := newLab(t, roomy, "a", "b")
	edge, s := l.serve(V2, 0)
	done := call(s, t.Context(), 1)
	first := l.nextFlow()
	first.accept()
	if err := receive(t, done, "no response"); err != nil {
		t.Fatal(err)
	}
	l.refuse(first.flow.Proxy)
	first.end <- link.ErrLost
	second := l.nextFlow()
	m := second.want(packet.Register)
	second.say(packet.Message{Type: packet.Registered, ID: m.ID, Result: datagram.ResultTooManyFlows})
	if id, message := told(t, edge); id != (datagram.ID{1}) || message != limited {
		t.Errorf("told %s %q", id, message)
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

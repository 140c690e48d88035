package udp

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func register(t *testing.T, edge transport.Session, r *datagram.Registration) {
	t.Helper()
	b, err := r.Append(nil)
	send(t, edge, b, err)
}

func payload(t *testing.T, edge transport.Session, id datagram.ID, text string) {
	t.Helper()
	b, err := datagram.AppendPayload(nil, id, []byte(text))
	send(t, edge, b, err)
}

func TestV3(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, _ := l.serve(V3, 2)
	register(t, edge, registration(7, "first"))
	p := l.nextFlow()
	if m := p.flow.Meta; m.Kind != link.KindDatagrams || m.Index != 2 || m.Tunnel != (tunnel.ID{1}) || p.flow.Proxy != "p" {
		t.Errorf("flow = %+v to %s", m, p.flow.Proxy)
	}
	m := p.accept()
	if m.ID != (datagram.ID{7}) || m.Dest != dest("192.0.2.1:53") || m.Idle != 30*time.Second || !m.WantResult || string(m.Data) != "first" {
		t.Errorf("registration = %+v", m)
	}
	wantResponse(t, edge, datagram.ID{7}, datagram.ResultOK)
	payload(t, edge, datagram.ID{7}, "second")
	if m := p.want(packet.Payload); m.ID != (datagram.ID{7}) || string(m.Data) != "second" {
		t.Errorf("payload = %+v", m)
	}
	p.say(packet.Message{Type: packet.Payload, ID: datagram.ID{7}, Data: []byte("response")})
	if id, b, err := datagram.ParsePayload(next(t, edge)); err != nil || id != (datagram.ID{7}) || string(b) != "response" {
		t.Errorf("response = %s %q %v", id, b, err)
	}
	// The edge asks again when a response was lost; the flow is the same.
	register(t, edge, registration(7, ""))
	p.accept()
	wantResponse(t, edge, datagram.ID{7}, datagram.ResultOK)
	// This version has no message for the end of a session; a payload after it is dropped.
	p.say(packet.Message{Type: packet.Ended, ID: datagram.ID{7}, Text: "idle"})
	testkit.Eventually(l.t, "session forgotten", func() bool { return l.live() == 0 })
	payload(t, edge, datagram.ID{7}, "late")
	testkit.Eventually(l.t, "late payload dropped", func() bool { return l.dropped(UnknownSession) == 1 })
}

func TestV3Refused(t *testing.T) {
	l := newLab(t, Limits{Sessions: 1, QueueBytes: 1 << 20}, "p")
	edge, _ := l.serve(V3, 0)
	register(t, edge, registration(1, ""))
	p := l.nextFlow()
	m := p.want(packet.Register)
	register(t, edge, registration(2, ""))
	wantResponse(t, edge, datagram.ID{2}, datagram.ResultTooManyFlows)
	p.say(packet.Message{Type: packet.Registered, ID: m.ID, Result: datagram.ResultNoSocket, Text: "no"})
	wantResponse(t, edge, datagram.ID{1}, datagram.ResultNoSocket)
	// The place is free again.
	register(t, edge, registration(2, ""))
	p.accept()
	wantResponse(t, edge, datagram.ID{2}, datagram.ResultOK)
	if n := l.dropped(TooManySessions); n != 1 {
		t.Errorf("%d dropped for the bound, want 1", n)
	}
}

func TestICMP(t *testing.T) {
	echo := func(id byte) []byte {
		b := make([]byte, 28)
		b[0], b[15], b[19], b[20], b[25] = 0x45, 1, 2, 8, id
		return b
	}
	for _, v := range []Version{V2, V3} {
		l := newLab(t, roomy, "p")
		edge, _ := l.serve(v, 0)
		b, err := datagram.AppendICMP(nil, echo(9))
		if v == V2 {
			b, err = (&datagram.V2{Type: datagram.V2TracedIP, Data: echo(9)}).Append(nil)
		}
		send(t, edge, b, err)
		p := l.nextFlow()
		if m := p.want(packet.ICMP); string(m.Data) != string(echo(9)) {
			t.Errorf("packet = %x", m.Data)
		}
		p.say(packet.Message{Type: packet.ICMP, Data: echo(9)})
		got := next(t, edge)
		want, _ := datagram.AppendICMP(nil, echo(9))
		if v == V2 {
			want, _ = (&datagram.V2{Type: datagram.V2IP, Data: echo(9)}).Append(nil)
		}
		if string(got) != string(want) {
			t.Errorf("response = %x, want %x", got, want)
		}
	}
}

func TestHostileV3(t *testing.T) {
	l := newLab(t, roomy, "p")
	edge, s := l.serve(V3, 0)
	whole, err := registration(1, "").Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[Reason][][]byte{
		Malformed: {
			{},
			{9},
			{255, 1, 2},
			whole[:25], whole[:1], append([]byte{1}, make([]byte, 15)...),
			{2},
			append([]byte{2}, make([]byte, 40)...),
		},
		TooLarge:   {append([]byte{1}, make([]byte, 16+1281)...), append([]byte{2}, make([]byte, 1281)...)},
		Unexpected: {append([]byte{3}, make([]byte, 40)...)},
	}
	for _, r := range []Reason{Malformed, TooLarge, Unexpected} {
		for _, b := range bad[r] {
			before := l.dropped(r)
			s.receiveV3(b)
			if l.dropped(r) != before+1 {
				t.Errorf("%x was not dropped as %s", b[:min(len(b), 40)], r)
			}
		}
	}
	// A flood of payloads for nobody and of registrations leaves what the bounds allow.
	sent := 0
	testkit.Eventually(l.t, "flood arrived", func() bool {
		for range 100 {
			id := datagram.ID{byte(sent), byte(sent >> 8), byte(sent >> 16), 1}
			sent++
			_ = edge.SendDatagram(append([]byte{1, byte(sent), byte(sent >> 8)}, make([]byte, 20)...))
			b, _ := (&datagram.Registration{ID: id, Dest: dest("192.0.2.1:1")}).Append(nil)
			_ = edge.SendDatagram(b)
		}
		return l.dropped(TooManySessions) > 0 && l.dropped(UnknownSession) > 0
	})

	if n := l.live(); n > roomy.Sessions {
		t.Errorf("%d sessions, want at most %d", n, roomy.Sessions)
	}
}

// TestQueueIsBounded: a proxy that does not read costs what one queue may take, whatever comes.
func TestQueueIsBounded(t *testing.T) {
	limit := 4096
	gone := make(chan struct{})
	p := newPipe(t.Context(), limit, func(*packet.Message) {})
	defer close(gone)
	m := packet.Message{Type: packet.Payload, Data: []byte(strings.Repeat("x", 1000))}
	taken := 0
	for range 100 {
		if p.put(&m, false) {
			taken++
		}
	}
	if taken == 0 || taken*1000 > limit+1000 {
		t.Errorf("%d messages taken", taken)
	}
	if !p.put(&packet.Message{Type: packet.Unregister}, true) {
		t.Error("no room for a word about a session")
	}
	for range 100 {
		p.put(&m, true)
	}
	if len(p.queue) > 2*limit+2000 {
		t.Errorf("queue of %d bytes", len(p.queue))
	}
	p.fail(errOver)
	if p.put(&m, false) || cap(p.queue) != 0 {
		t.Error("a flow that is over keeps its queue")
	}
}

package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

func TestV3Bundles(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, ours)
	flow := l.start(30 * time.Second)
	send(t, flow, "first")
	// If the registration was sent before Send was called, the payload follows it.
	r := f.accept()
	if r.Dest != resolver || r.Idle != 30*time.Second {
		t.Errorf("registration = %+v", r)
	}
	if string(r.Payload) != "first" {
		if got := f.payload(); got != "first" {
			t.Errorf("payload = %q", got)
		}
	}
	testkit.Receive(t, "the flow is settled", flow.settled)
	send(t, flow, "second")
	if got := f.payload(); got != "second" {
		t.Errorf("payload = %q, want the second: a bundled payload is sent once", got)
	}
	f.reply(r.ID, "reply")
	l.wantReply("reply")
}

// TestStockIsNotBundled: a stock connector loses bundled payloads, so the payload waits for the response.
func TestStockIsNotBundled(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, stockV3)
	flow := l.start(0)
	send(t, flow, "first")
	r := f.registration()
	if r.Payload != nil || r.Idle != datagram.DefaultIdle {
		t.Errorf("registration = %+v", r)
	}
	again := f.registration() // sent again without a response, and nothing else before it
	if again.ID != r.ID || again.Payload != nil {
		t.Errorf("second registration = %+v", again)
	}
	f.respond(r.ID, datagram.ResultOK)
	if got := f.payload(); got != "first" {
		t.Errorf("payload = %q", got)
	}
}

func TestV2(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, stockV2)
	c := f.serveCalls()
	flow := l.start(40 * time.Second)
	send(t, flow, "first")
	s := testkit.Receive(t, "the registration of a session", c.sessions)
	if s.Dest != resolver || s.Idle != 40*time.Second || s.ID[6]>>4 != 4 {
		t.Errorf("session = %+v", s)
	}
	d, err := datagram.ParseV2(f.next())
	if err != nil || d.ID != s.ID || string(d.Data) != "first" {
		t.Errorf("payload = %+v, %v", d, err)
	}
	f.send(datagram.AppendV2UDP(nil, s.ID, []byte("reply")), nil)
	l.wantReply("reply")
	flow.Close()
	if got := testkit.Receive(t, "the end of the session", c.ended); got != "closed by the edge" {
		t.Errorf("reason = %q", got)
	}
	if err := flow.Send(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close = %v", err)
	}

	flow = l.start(0)
	s = testkit.Receive(t, "the registration of a session", c.sessions)
	testkit.Receive(t, "the flow is settled", flow.settled)
	l.flows.Ended(f.conn, s.ID, "session idle for 3m30s")
	l.wantEnd(flow, ErrClosed)

	c.mu.Lock()
	c.err = errors.New("no socket")
	c.mu.Unlock()
	l.wantEnd(l.start(0), ErrRefused)
}

func TestResults(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, ours)
	for result, want := range map[datagram.Result]error{
		datagram.ResultUnreachable: ErrRefused, datagram.ResultNoSocket: ErrRefused, datagram.ResultError: ErrRefused,
		datagram.ResultTooManyFlows: ErrTooManyFlows,
	} {
		opened := make(chan error, 1)
		go func() {
			_, err := l.flows.Open(t.Context(), app, resolver, 0, l.deliver)
			opened <- err
		}()
		f.respond(f.registration().ID, result)
		if err := testkit.Receive(t, "the result of Open", opened); !errors.Is(err, want) {
			t.Errorf("%s: Open = %v, want %v", result, err, want)
		}
	}
	if n := len(l.flows.flows); n != 0 {
		t.Errorf("%d flows are left", n)
	}
}

func TestNoUsableConnection(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.MaxFlows = 1
	l := newLab(t, cfg)
	table := registry.NewTable()
	l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: app}, Protocol: tunnel.HTTP2})
	l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{2}}, Protocol: tunnel.QUIC, Features: ours})
	if _, err := l.flows.Open(t.Context(), app, resolver, 0, l.deliver); !errors.Is(err, ErrNoConnection) {
		t.Errorf("Open = %v, want ErrNoConnection", err)
	}
	for _, dst := range []string{"10.0.0.1:0", "[::]:0"} {
		if _, err := l.flows.Start(app, netip.MustParseAddrPort(dst), 0, l.deliver); !errors.Is(err, datagram.ErrAddress) {
			t.Errorf("Start to %s = %v", dst, err)
		}
	}
	if _, err := l.flows.Start(tunnel.ID{2}, resolver, 0, l.deliver); err != nil {
		t.Fatal(err)
	}
	if _, err := l.flows.Start(tunnel.ID{2}, resolver, 0, l.deliver); !errors.Is(err, ErrTooManyFlows) {
		t.Errorf("one flow too many = %v", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, stockV3)
	flow := l.start(0)
	r := f.registration()
	for i := range maxKept + 5 {
		send(t, flow, fmt.Sprint(i))
	}
	if n := l.dropped(dropNoRoom); n != 5 {
		t.Errorf("%d waiting payloads dropped, want 5", n)
	}
	f.respond(r.ID, datagram.ResultOK)
	for i := range 4 { // the in-memory network holds no more at a time
		if got := f.payload(); got != fmt.Sprint(i) {
			t.Fatalf("payload %d = %q", i, got)
		}
	}
	if err := flow.Send(make([]byte, datagram.MaxPayload+1)); !errors.Is(err, ErrTooLarge) || l.dropped(dropTooLarge) != 1 {
		t.Errorf("Send of a large payload = %v, %d dropped", err, l.dropped(dropTooLarge))
	}
}

// TestLargePayloads sends and receives payloads in fragments, before the flow has a connection and on it, and again on the connection
// that it moves to.
func TestLargePayloads(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	features := append(slices.Clone(ours), protocol.FeatureFragments)
	table := registry.NewTable()
	f := l.connect(table, 0, 1, features)
	flow := l.start(0)
	early, late := strings.Repeat("early", 500), strings.Repeat("late", 500)
	if b := f.next(); len(b) != 21 || b[0] != byte(datagram.V3Fragment) {
		t.Errorf("the edge began with %x, not with its offer", b)
	}
	send(t, flow, early)
	f.accept()
	if got := f.large(); got != early {
		t.Errorf("%d bytes, want the payload that waited", len(got))
	}
	send(t, flow, late)
	if got := f.large(); got != late {
		t.Errorf("%d bytes, want the payload", len(got))
	}
	fragments, err := datagram.Fragments(flow.id, 1, []byte(early))
	if err != nil {
		t.Fatal(err)
	}
	f.send([]byte{byte(datagram.V3Fragment)}, nil) // malformed
	for _, p := range fragments {
		f.send(p.Append(nil, true), nil)
	}
	if got := testkit.Receive(t, "the reply", l.replies); got != early {
		t.Errorf("%d bytes, want the reply", len(got))
	}
	if n := l.dropped(dropMalformed); n != 1 {
		t.Errorf("%d malformed, want 1", n)
	}
	flow.Close()
	moving := l.start(0)
	f.accept()
	send(t, moving, early)
	second := l.connect(table, 1, 1, features)
	f.die()
	second.accept()
	if got := second.large(); got != early { // the first connection gave no sign of life since it was sent
		t.Errorf("%d bytes, want the payload that may not have arrived", len(got))
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	f := l.connect(registry.NewTable(), 0, 1, ours)
	flow := l.start(time.Second)
	f.accept()
	l.wantEnd(flow, ErrClosed)
}

func TestRepliesOfAnotherTunnelAreDropped(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	mine := l.connect(table, 0, 1, ours)
	other := l.connect(table, 1, 1, ours)
	stranger := l.connectAs(table, registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{2}}, Protocol: tunnel.QUIC, Features: ours})
	flow := l.start(0)
	// Either connection may have been chosen; replies come on both.
	id := flow.id
	accepted := make(chan struct{}, 2)
	for _, f := range []*far{mine, other} {
		go func() {
			ctx := f.sess.Context()
			for {
				b, err := f.sess.ReceiveDatagram(ctx)
				if err != nil {
					return
				}
				if r, err := datagram.ParseRegistration(b); err == nil {
					out, _ := (&datagram.Response{ID: r.ID}).Append(nil)
					_ = f.sess.SendDatagram(out)
					accepted <- struct{}{}
				}
			}
		}()
	}
	testkit.Receive(t, "the registration", accepted)
	stranger.reply(id, "of another tunnel")
	testkit.Eventually(l.t, "dropped", func() bool { return l.dropped(dropUnknownFlow) == 1 })
	mine.reply(id, "one")
	l.wantReply("one")
	other.reply(id, "two")
	l.wantReply("two")
	for _, b := range [][]byte{{}, {7}, {1, 2}, {3, 0}, {2}, {2, 0x45, 1}} {
		before := l.dropped(dropMalformed)
		stranger.send(b, nil)
		testkit.Eventually(l.t, fmt.Sprintf("%x dropped", b), func() bool { return l.dropped(dropMalformed) == before+1 })
	}
}

package udp

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// TestMoveAfterLoss: the flow keeps its id, payloads sent meanwhile are not lost, and the same connector is preferred.
func TestMoveAfterLoss(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	send(t, flow, "on one")
	if got := one.payload(); got != "on one" {
		t.Fatalf("payload = %q", got)
	}
	two := l.connect(table, 1, 1, stockV3)
	foreign := l.connectAs(table, registry.Info{
		Slot: tunnel.Slot{Tunnel: app, Connector: tunnel.ConnectorID{7}}, Protocol: tunnel.QUIC, Features: ours,
	})
	one.die()
	send(t, flow, "meanwhile")
	if r := two.accept(); r.ID != id || r.Dest != resolver {
		t.Errorf("registration = %+v", r)
	}
	for two.payload() != "meanwhile" { // payloads sent just before the loss are sent again
	}
	two.reply(id, "reply")
	l.wantReply("reply")
	two.die()
	if r := foreign.accept(); r.ID != id {
		t.Errorf("registration = %+v", r)
	}
}

// failing is a session whose datagrams end before the session does.
type failing struct {
	transport.Session
	fail chan struct{}
}

func (f *failing) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-f.fail:
			cancel()
		case <-ctx.Done():
		}
	}()
	return f.Session.ReceiveDatagram(ctx)
}

// TestDatagramsEndBeforeTheSession: a lost connection may show it first where datagrams are received. Its flows leave it for good,
// although its session has not ended yet and there is no other connection at that moment.
func TestDatagramsEndBeforeTheSession(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	lost := &failing{fail: make(chan struct{})}
	l.wrap = func(s transport.Session) transport.Session {
		lost.Session = s
		return lost
	}
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	close(lost.fail)
	testkit.Receive(t, "the end of Serve", one.gone)
	send(t, flow, "kept")
	l.wrap = nil
	two := l.connect(table, 1, 2, ours)
	r := two.accept()
	if r.ID != id {
		t.Errorf("registration = %+v", r)
	}
	if got := string(r.Payload); got != "kept" {
		t.Errorf("bundled payload = %q", got)
	}
}

func TestWaitsForAConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	one.die()
	send(t, flow, "early")
	next := l.connect(table, 0, 2, stockV3)
	if r := next.accept(); r.ID != id {
		t.Errorf("registration = %+v", r)
	}
	if got := next.payload(); got != "early" {
		t.Errorf("payload = %q", got)
	}
}

func TestWaitIsBounded(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.MoveTimeout = 10 * time.Millisecond
	l := newLab(t, cfg)
	one := l.connect(registry.NewTable(), 0, 1, ours)
	flow := l.start(0)
	one.accept()
	testkit.Receive(t, "the flow is settled", flow.settled)
	one.die()
	l.wantEnd(flow, ErrNoConnection)
}

// TestPlannedMove: payloads use a retired connection until another one has accepted the flow.
func TestPlannedMove(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	table.Retire(one.conn, registry.Unregistered)
	send(t, flow, "nowhere else to go")
	if got := one.payload(); got != "nowhere else to go" {
		t.Errorf("payload = %q", got)
	}
	two := l.connect(table, 1, 1, ours)
	r := two.registration()
	send(t, flow, "not yet")
	if got := one.payload(); got != "not yet" {
		t.Errorf("payload = %q", got)
	}
	two.respond(r.ID, 0)
	if r.ID != id {
		t.Errorf("registration = %+v", r)
	}
	testkit.Eventually(l.t, "moved", func() bool { return isOn(flow, two.conn) })
	send(t, flow, "there")
	if got := two.payload(); got != "there" {
		t.Errorf("payload = %q", got)
	}
	one.reply(id, "late on the old one")
	l.wantReply("late on the old one")
}

// TestNewerEpoch: flows move to the connection with the newer epoch of their slot, although the old session still exists.
func TestNewerEpoch(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	old := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := old.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	moved := l.connect(table, 0, 2, ours)
	if r := moved.accept(); r.ID != id {
		t.Errorf("registration = %+v", r)
	}
}

// TestSilence: a connection that accepts datagrams but stays silent, even when probed, loses its flows. Payloads sent since its last
// sign of life are sent again, even if they are more than QueueBytes.
func TestSilence(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.QueueBytes = datagram.V2MaxDatagram
	l := newLab(t, cfg)
	table := registry.NewTable()
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	two := l.connect(table, 1, 1, stockV3)
	const n = 30 // the in-memory network holds no more at a time
	for i := range n {
		send(t, flow, fmt.Sprintf("%100d", i))
	}
	if r := two.accept(); r.ID != id {
		t.Errorf("registration = %+v", r)
	}
	for i := range n {
		if got := two.payload(); got != fmt.Sprintf("%100d", i) {
			t.Fatalf("payload %d = %q", i, got)
		}
	}
	if one.sess.Context().Err() != nil {
		t.Error("the silent session was closed")
	}
	probes := 0
	for probes == 0 {
		if b := one.next(); b[0] == 0 {
			probes++
		}
	}
}

// TestDeadConnectionsDoNotDelayAMove: while a connection does not respond, the flow tries the next one, and no payload is lost.
func TestDeadConnectionsDoNotDelayAMove(t *testing.T) {
	t.Parallel()
	for _, features := range [][]string{ours, stockV2} {
		l := newLab(t, Default())
		table := registry.NewTable()
		silent := l.connect(table, 0, 1, features) // never responds, and does not end
		flow := l.start(0)
		send(t, flow, "first")
		if features[len(features)-1] == protocol.FeatureDatagrams {
			silent.registration()
		}
		live := l.connect(table, 1, 1, ours)
		if r := live.accept(); r.ID != flow.id {
			t.Errorf("registration = %+v", r)
		} else if string(r.Payload) != "first" {
			t.Errorf("bundled %q", r.Payload)
		}
		send(t, flow, "second")
		if got := live.payload(); got != "second" {
			t.Errorf("payload = %q", got)
		}
	}
}

// TestRefusalWhileAnotherAttemptIsPending: a connector that gets the registration over two connections moves the flow to the second
// one and fails the first registration. That must not end the flow.
func TestRefusalWhileAnotherAttemptIsPending(t *testing.T) {
	t.Parallel()
	l, table := newLab(t, Default()), registry.NewTable()
	connections := []*far{l.connect(table, 0, 1, ours), l.connect(table, 1, 2, ours)}
	f := l.start(0)
	for _, c := range connections {
		c.registration() // which of them comes first does not matter
	}
	connections[0].respond(f.id, datagram.ResultUnreachable)
	connections[1].respond(f.id, datagram.ResultOK)
	testkit.Receive(t, "the flow is settled", f.settled)
	if err := f.Err(); err != nil {
		t.Fatalf("flow ended: %v", err)
	}
	send(t, f, "hello")
	if got := connections[1].payload(); got != "hello" {
		t.Errorf("payload = %q", got)
	}
}

// TestFlowThatOnlyReceives: a flow that sends nothing leaves a silent connection, too.
func TestFlowThatOnlyReceives(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	l.wrap = func(s transport.Session) transport.Session { return &beating{Session: s} }
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	id := one.accept().ID
	testkit.Receive(t, "the flow is settled", flow.settled)
	two := l.connect(table, 1, 1, ours)
	if r := two.accept(); r.ID != id {
		t.Errorf("registration = %+v", r)
	}
}

// TestKeptBytes: the bytes that all flows keep are bounded, and returned when a flow ends.
func TestKeptBytes(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.KeptBytes = 10
	l := newLab(t, cfg)
	f := l.connect(registry.NewTable(), 0, 1, stockV3)
	one, two := l.start(0), l.start(0)
	send(t, one, "12345678")
	send(t, two, "901") // no room
	send(t, two, "90")
	if n := l.dropped(dropNoRoom); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	got := map[string]bool{}
	for len(got) < 2 {
		got[f.payload()] = true
	}
	if !got["12345678"] || !got["90"] {
		t.Errorf("payloads %v", got)
	}
	send(t, one, "sent though it cannot be kept")
	if got := f.payload(); got != "sent though it cannot be kept" {
		t.Errorf("payload = %q", got)
	}
	one.Close()
	two.Close()
	if n := l.flows.kept.used.Load(); n != 0 {
		t.Errorf("%d bytes still taken after the flows ended", n)
	}
}

// beating is a session that counts received packets, as the test sets it.
type beating struct {
	transport.Session
	n atomic.Uint64
}

func (b *beating) Received() uint64 { return b.n.Load() }

// TestPulse: version 2 has no probes, but the received packets of the transport show silence. A connection whose transport receives
// packets keeps its flows although the origin sends nothing.
func TestPulse(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	var hearts []*beating
	l.wrap = func(s transport.Session) transport.Session {
		h := &beating{Session: s}
		hearts = append(hearts, h)
		return h
	}
	one := l.connect(table, 0, 1, stockV2)
	one.serveCalls()
	flow, err := l.flows.Open(t.Context(), app, resolver, 0, l.deliver)
	if err != nil {
		t.Fatal(err)
	}
	two := l.connect(table, 1, 1, stockV2)
	began := time.Now()
	testkit.Eventually(l.t, "time passes", func() bool {
		hearts[0].n.Add(1)
		send(t, flow, "x")
		return time.Since(began) > 2*suspectAfter
	})
	if !isOn(flow, one.conn) {
		t.Fatal("the flow left a connection that lives")
	}
	calls := two.serveCalls()
	var moved rpc.UDPSession
	testkit.Eventually(l.t, "the flow moves", func() bool {
		send(t, flow, "into the silence")
		select {
		case moved = <-calls.sessions:
			return true
		default:
			return false
		}
	})
	if moved.ID != flow.id {
		t.Errorf("registered %v, want %v", moved.ID, flow.id)
	}
	d, err := datagram.ParseV2(two.next())
	if got := string(d.Data); err != nil || got != "into the silence" && got != "x" { // unacknowledged payloads are sent again
		t.Errorf("payload = %q, %v", got, err)
	}
}

// TestOneWayTraffic: a flow without replies stays on a connection that responds to probes.
func TestOneWayTraffic(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	table := registry.NewTable()
	one := l.connect(table, 0, 1, ours)
	flow := l.start(0)
	one.accept()
	testkit.Receive(t, "the flow is settled", flow.settled)
	l.connect(table, 1, 1, ours)
	began := time.Now()
	for time.Since(began) < 2*suspectAfter {
		send(t, flow, "x")
		if got := one.payload(); got != "x" { // payload responds to probes
			t.Fatalf("payload = %q", got)
		}
	}
	if !isOn(flow, one.conn) {
		t.Error("the flow moved away from a connection that responds")
	}
}

// isOn reports whether a flow uses the connection. Between two connections it uses none.
func isOn(f *Flow, conn *registry.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peer != nil && f.peer.conn == conn
}

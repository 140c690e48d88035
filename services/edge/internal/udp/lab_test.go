package udp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// lab is a Flows whose connectors are played by the test.
type lab struct {
	t     testing.TB
	flows *Flows
	// replies holds the datagrams of the origin that were delivered to the flows.
	replies chan string
	// wrap, when not nil, replaces the edge's end of each connection.
	wrap func(transport.Session) transport.Session
}

func newLab(t testing.TB, cfg Config) *lab {
	flows := New(cfg, Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	l := &lab{t: t, replies: make(chan string, 1024), flows: flows}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.flows.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := testkit.Receive(t, "the end of Run", done); err != nil {
			t.Error(err)
		}
	})
	return l
}

var (
	app     = tunnel.ID{1}
	ours    = []string{protocol.FeatureDatagramV2, protocol.FeatureDatagramV3, protocol.FeatureDatagrams}
	stockV3 = []string{protocol.FeatureDatagramV2, protocol.FeatureDatagramV3}
	stockV2 = []string{protocol.FeatureDatagramV2}
)

// far is a connector's end of one connection.
type far struct {
	t    testing.TB
	sess transport.Session
	conn *registry.Conn
	gone chan struct{}
}

// connect registers a connection with a connection index and an epoch.
func (l *lab) connect(table *registry.Table, index tunnel.ConnIndex, epoch tunnel.Epoch, features []string) *far {
	l.t.Helper()
	return l.connectAs(table, registry.Info{
		Slot: tunnel.Slot{Tunnel: app, Connector: tunnel.ConnectorID{9}, Index: index}, Epoch: epoch, Protocol: tunnel.QUIC, Features: features,
		Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(epoch)),
	})
}

func (l *lab) connectAs(table *registry.Table, info registry.Info) *far {
	l.t.Helper()
	near, sess := mem.Pair(context.Background())
	var ours transport.Session = near
	if l.wrap != nil {
		ours = l.wrap(near)
	}
	f := &far{t: l.t, sess: sess, conn: registry.NewConn(info, ours), gone: make(chan struct{})}
	if err := table.Register(f.conn); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(f.gone)
		l.flows.Serve(near.Context(), f.conn)
		table.Remove(f.conn)
	}()
	l.t.Cleanup(f.die)
	testkit.Eventually(l.t, "connection is known", func() bool {
		l.flows.mu.Lock()
		defer l.flows.mu.Unlock()
		return l.flows.peers[f.conn.Slot.Tunnel][f.conn] != nil || info.Protocol != tunnel.QUIC
	})
	return f
}

// die ends the connection as a crash would.
func (f *far) die() {
	_ = f.sess.CloseWithError(0, "died")
	testkit.Receive(f.t, "the end of Serve", f.gone)
}

// next returns the next datagram of the edge.
func (f *far) next() []byte {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), testkit.Patience)
	defer cancel()
	b, err := f.sess.ReceiveDatagram(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *far) send(b []byte, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.sess.SendDatagram(b); err != nil {
		f.t.Fatal(err)
	}
}

// registration returns the next registration of version 3; probes and payloads before it are skipped.
func (f *far) registration() datagram.Registration {
	f.t.Helper()
	for {
		b := f.next()
		if t, _ := datagram.TypeV3(b); t != datagram.V3Registration {
			continue
		}
		r, err := datagram.ParseRegistration(b)
		if err != nil {
			f.t.Fatal(err)
		}
		return r
	}
}

// respond sends the response to a registration.
func (f *far) respond(id datagram.ID, result datagram.Result) {
	f.t.Helper()
	f.send((&datagram.Response{ID: id, Result: result, Text: "text"}).Append(nil))
}

// accept accepts the next registration.
func (f *far) accept() datagram.Registration {
	f.t.Helper()
	r := f.registration()
	f.respond(r.ID, datagram.ResultOK)
	return r
}

// payload returns the next payload of version 3, and accepts the registrations before it.
func (f *far) payload() string {
	f.t.Helper()
	for {
		b := f.next()
		if t, _ := datagram.TypeV3(b); t == datagram.V3Registration {
			r, _ := datagram.ParseRegistration(b)
			f.respond(r.ID, datagram.ResultOK)
			continue
		}
		_, data, err := datagram.ParsePayload(b)
		if err != nil {
			f.t.Fatal(err)
		}
		return string(data)
	}
}

// large returns the next payload that comes in fragments; other datagrams before it are skipped.
func (f *far) large() string {
	f.t.Helper()
	var r datagram.Reassembler
	for {
		p, err := datagram.ParseFragment(f.next(), true)
		if err != nil {
			continue
		}
		if payload, _ := r.Add(p, time.Now()); payload != nil {
			return string(payload)
		}
	}
}

func (f *far) reply(id datagram.ID, text string) {
	f.t.Helper()
	f.send(datagram.AppendPayload(nil, id, []byte(text)))
}

// calls serves the RPC streams of the edge, in version 2.
type calls struct {
	rpc.ConfigurationHandler
	mu       sync.Mutex
	sessions chan rpc.UDPSession
	ended    chan string
	err      error
}

func (c *calls) RegisterUDPSession(_ context.Context, s rpc.UDPSession) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions <- s
	return nil, c.err
}

func (c *calls) UnregisterUDPSession(_ context.Context, _ [16]byte, message string) error {
	c.ended <- message
	return nil
}

func (f *far) serveCalls() *calls {
	c := &calls{sessions: make(chan rpc.UDPSession, 64), ended: make(chan string, 64)}
	go func() {
		for {
			st, err := f.sess.AcceptStream(f.sess.Context())
			if err != nil {
				return
			}
			go func() {
				head := make([]byte, stream.SignatureSize)
				if _, err := io.ReadFull(st, head); err == nil && string(head) == stream.RPCSignature {
					_ = rpc.ServeConnector(f.sess.Context(), rpc.StreamConn(st), c)
				}
			}()
		}
	}()
	return c
}

func (l *lab) deliver(b []byte) { l.replies <- string(b) }

var resolver = netip.MustParseAddrPort("10.0.0.53:53")

func (l *lab) start(idle time.Duration) *Flow {
	l.t.Helper()
	f, err := l.flows.Start(app, resolver, idle, l.deliver)
	if err != nil {
		l.t.Fatal(err)
	}
	return f
}

func (l *lab) wantReply(want string) {
	l.t.Helper()
	if got := testkit.Receive(l.t, "reply "+want, l.replies); got != want {
		l.t.Fatalf("reply = %q, want %q", got, want)
	}
}

func (l *lab) wantEnd(f *Flow, want error) {
	l.t.Helper()
	testkit.Receive(l.t, "the end of the flow", f.Done())
	if !errors.Is(f.Err(), want) {
		l.t.Errorf("flow ended with %v, want %v", f.Err(), want)
	}
}

func (l *lab) dropped(r reason) int { return int(testutil.ToFloat64(l.flows.metrics.dropped[r])) }

func send(t testing.TB, f *Flow, text string) {
	t.Helper()
	if err := f.Send([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

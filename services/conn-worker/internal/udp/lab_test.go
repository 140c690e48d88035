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

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must happen some time; no test passes because of it.
const patience = 20 * time.Second

// lab is a worker's relay between edges in memory and proxies that the test plays.
type lab struct {
	t     *testing.T
	relay *Relay
	flows chan *proxyFlow
	// drained are the flows that drain has taken from flows.
	drained []*proxyFlow

	mu       sync.Mutex
	proxies  []tunnel.ProxyID
	refusing map[tunnel.ProxyID]bool
	drops    map[Reason]int
	sessions int
	received int

	registered int
	sent       int
}

func newLab(t *testing.T, limits Limits, proxies ...tunnel.ProxyID) *lab {
	l := &lab{t: t, flows: make(chan *proxyFlow, 64), proxies: proxies, refusing: map[tunnel.ProxyID]bool{}, drops: map[Reason]int{}}
	l.relay = New(Config{
		Carrier: l, Proxies: l.known, Observer: l, Limits: limits, Logger: slog.New(slog.DiscardHandler), RPCTimeout: 5 * time.Second,
	})
	return l
}

var roomy = Limits{Sessions: 100, QueueBytes: 1 << 20}

func (l *lab) known() []tunnel.ProxyID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proxies
}

func (l *lab) setProxies(ids ...tunnel.ProxyID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxies = ids
}

func (l *lab) refuse(id tunnel.ProxyID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusing[id] = true
}

func (l *lab) DatagramReceived()        { l.count(func() { l.received++ }) }
func (l *lab) DatagramSent()            { l.count(func() { l.sent++ }) }
func (l *lab) DatagramDropped(r Reason) { l.count(func() { l.drops[r]++ }) }

func (l *lab) SessionsChanged(_ tunnel.ConnIndex, _ Version, by int) {
	l.count(func() { l.sessions += by })
}
func (l *lab) SessionRegistered(tunnel.ConnIndex, Version) { l.count(func() { l.registered++ }) }
func (l *lab) Told(time.Duration, error)                   {}

func (l *lab) count(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *lab) dropped(r Reason) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drops[r]
}

func (l *lab) live() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions
}

// proxyFlow is one flow as its proxy sees it.
type proxyFlow struct {
	t        *testing.T
	flow     link.Flow
	messages chan packet.Message
	end      chan error
}

// Carry runs a flow until the test ends it or the worker does.
func (l *lab) Carry(ctx context.Context, f link.Flow) error {
	l.mu.Lock()
	refused := l.refusing[f.Proxy]
	l.mu.Unlock()
	if refused {
		return link.ErrNotAccepted
	}
	p := &proxyFlow{t: l.t, flow: f, messages: make(chan packet.Message, 1024), end: make(chan error, 1)}
	read := make(chan error, 1)
	go func() { read <- p.read() }()
	l.flows <- p
	select {
	case err := <-p.end:
		f.Stream.CancelRead(0)
		<-read
		return err
	case err := <-read:
		if errors.Is(err, io.EOF) {
			err = f.Stream.CloseWrite()
		}
		return err
	case <-ctx.Done():
		f.Stream.CancelRead(0)
		f.Stream.CancelWrite(0)
		<-read
		return link.ErrEdge
	}
}

func (p *proxyFlow) read() error {
	var r packet.Reader
	for {
		n, err := p.flow.Stream.Read(r.Space())
		r.Add(n)
		for {
			var m packet.Message
			ok, perr := r.Next(&m)
			if perr != nil {
				return perr
			}
			if !ok {
				break
			}
			m.Data = append([]byte(nil), m.Data...)
			p.messages <- m
		}
		if err != nil {
			return err
		}
	}
}

// want gives the next message, which must be of a type.
func (p *proxyFlow) want(t packet.Type) packet.Message {
	p.t.Helper()
	m := testkit.Receive(p.t, "no message for the proxy", p.messages)
	if m.Type != t {
		p.t.Fatalf("message of type %d for the proxy, want %d: %+v", m.Type, t, m)
	}
	return m
}

func (p *proxyFlow) say(m packet.Message) {
	p.t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	// In pieces: a carrier passes bytes on as they come.
	for _, piece := range [][]byte{b[:1], b[1 : len(b)-1], b[len(b)-1:]} {
		if _, err := p.flow.Stream.Write(piece); err != nil {
			p.t.Fatal(err)
		}
	}
}

// accept accepts the next registration.
func (p *proxyFlow) accept() packet.Message {
	p.t.Helper()
	m := p.want(packet.Register)
	p.say(packet.Message{Type: packet.Registered, ID: m.ID})
	return m
}

// drain drops what waits for the proxies, for tests that do not look at it: a flow stops at 1024 messages.
func (l *lab) drain() {
	for {
		select {
		case p := <-l.flows:
			l.drained = append(l.drained, p)
			continue
		default:
		}
		break
	}
	for _, p := range l.drained {
		for len(p.messages) > 0 {
			<-p.messages
		}
	}
}

// nextFlow waits for a flow to one of the proxies.
func (l *lab) nextFlow() *proxyFlow {
	l.t.Helper()
	return testkit.Receive(l.t, "no flow was opened", l.flows)
}

// serve serves a session with the edge that it gives.
func (l *lab) serve(v Version, index tunnel.ConnIndex) (edge transport.Session, s *Session) {
	l.t.Helper()
	edge, near := mem.Pair(context.Background())
	s = l.relay.Session(near, link.Meta{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: index}, v)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve()
	}()
	l.t.Cleanup(func() {
		_ = edge.CloseWithError(0, "over")
		testkit.Receive(l.t, "the session does not end", done)
	})
	return edge, s
}

func send(t *testing.T, s transport.Session, b []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendDatagram(b); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, s transport.Session) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := s.ReceiveDatagram(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func dest(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func registration(n byte, payload string) *datagram.Registration {
	r := &datagram.Registration{ID: datagram.ID{n}, Dest: dest("192.0.2.1:53"), Idle: 30 * time.Second}
	if payload != "" {
		r.Payload = []byte(payload)
	}
	return r
}

// wantResponse reads the response to a registration.
func wantResponse(t *testing.T, edge transport.Session, id datagram.ID, want datagram.Result) {
	t.Helper()
	r, err := datagram.ParseResponse(next(t, edge))
	if err != nil || r.ID != id || r.Result != want {
		t.Fatalf("response = %+v, %v, want %s for %s", r, err, want, id)
	}
}

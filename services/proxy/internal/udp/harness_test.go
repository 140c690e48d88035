package udp_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is a table with its surroundings.
type kit struct {
	*udp.Table
	reg *prometheus.Registry
	max uint64
}

type option func(*udp.Config, *udp.Deps)

func newKit(t testing.TB, opts ...option) *kit {
	k := &kit{reg: prometheus.NewRegistry()}
	cfg := udp.Default()
	deps := udp.Deps{
		Dialer: dialer.New(func(tunnel.ID) ingress.WarpRouting {
			return ingress.WarpRouting{ConnectTimeout: time.Second}
		}, nil),
		Limit:      limit.New(func(tunnel.ID) uint64 { return k.max }, nil),
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: k.reg,
	}
	for _, o := range opts {
		o(&cfg, &deps)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	k.Table = udp.New(cfg, deps)
	t.Cleanup(k.Close)
	return k
}

// figure sums a metric; label picks one series of a vector.
func (k *kit) figure(t testing.TB, name, label string) int {
	t.Helper()
	families, err := k.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "culvert_proxy_udp_"+name {
			return sum(f.GetMetric(), label)
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func sum(series []*dto.Metric, label string) (n int) {
	for _, m := range series {
		if label == "" || m.GetLabel()[0].GetValue() == label {
			n += int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
		}
	}
	return n
}

func (k *kit) dropped(t testing.TB, reason string) int {
	return k.figure(t, "dropped_datagrams_total", reason)
}

var errAborted = errors.New("aborted")

// memStream is a flow's stream in memory, seen from the proxy.
type memStream struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (s memStream) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s memStream) Write(p []byte) (int, error) { return s.w.Write(p) }
func (s memStream) Buffer(p []byte) error       { _, err := s.w.Write(p); return err }
func (s memStream) CloseWrite() error           { return s.w.Close() }
func (s memStream) Abort() {
	_ = s.r.CloseWithError(errAborted)
	_ = s.w.CloseWithError(errAborted)
}

// worker is the far end of a flow.
type worker struct {
	t      testing.TB
	out    *io.PipeWriter
	in     *io.PipeReader
	reader packet.Reader
	err    error
	lose   context.CancelFunc
	done   chan struct{}
}

// connect opens a flow; the table serves it until the test ends it.
func (k *kit) connect(t testing.TB) *worker {
	return k.connectAs(t, link.Meta{Kind: link.KindDatagrams, Tunnel: [16]byte{1}, Connector: [16]byte{2}})
}

func (k *kit) connectAs(t testing.TB, m link.Meta) *worker {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	pr, out := io.Pipe()
	in, pw := io.Pipe()
	w := &worker{t: t, out: out, in: in, done: make(chan struct{})}
	w.lose = cancel // which ends no read and no write by itself
	go func() {
		defer close(w.done)
		k.ServeStream(ctx, m, memStream{pr, pw})
		_ = pw.CloseWithError(errAborted) // no effect if it is closed
	}()
	t.Cleanup(func() { w.lose(); <-w.done })
	return w
}

// leave ends the flow as a worker that stops does.
func (w *worker) leave() {
	_ = w.out.Close()
	for {
		if _, ok := w.maybe(); !ok {
			break
		}
	}
	<-w.done
}

// crash ends the flow as a worker that dies does: a read that waits is not told.
func (w *worker) crash() { w.lose(); <-w.done }

func (w *worker) send(messages ...packet.Message) {
	w.t.Helper()
	var b []byte
	for i := range messages {
		var err error
		if b, err = messages[i].Append(b); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := w.out.Write(b); err != nil {
		w.t.Fatalf("flow: %v", err)
	}
}

// maybe gives the next message, or false at the end of the flow.
func (w *worker) maybe() (m packet.Message, ok bool) {
	w.t.Helper()
	for {
		if ok, err := w.reader.Next(&m); err != nil {
			w.t.Fatal(err)
		} else if ok {
			return m, true
		}
		if w.err != nil {
			return m, false
		}
		var n int
		n, w.err = w.in.Read(w.reader.Space())
		w.reader.Add(n)
	}
}

func (w *worker) next() packet.Message {
	w.t.Helper()
	m, ok := w.maybe()
	if !ok {
		w.t.Fatalf("flow ended: %v", w.err)
	}
	return m
}

// expect takes the next message and compares its type, id and text.
func (w *worker) expect(want packet.Type, id datagram.ID, text string) packet.Message {
	w.t.Helper()
	m := w.next()
	got := m.Text
	if want == packet.Payload {
		got = string(m.Data)
	}
	if m.Type != want || m.ID != id || got != text {
		w.t.Fatalf("message type %d of %s with %q, want %d of %s with %q", m.Type, m.ID, got, want, id, text)
	}
	return m
}

func register(id byte, dest netip.AddrPort, data string) packet.Message {
	return packet.Message{Type: packet.Register, ID: datagram.ID{id}, Dest: dest, WantResult: true, Data: []byte(data)}
}

func payload(id byte, data string) packet.Message {
	return packet.Message{Type: packet.Payload, ID: datagram.ID{id}, Data: []byte(data)}
}

// registered takes the response to a registration that succeeds.
func (w *worker) registered(id byte) {
	w.t.Helper()
	if m := w.expect(packet.Registered, datagram.ID{id}, ""); m.Result != datagram.ResultOK {
		w.t.Fatalf("result %s", m.Result)
	}
}

// origin is a UDP server that responses with the sender's address, a space, and what it got.
type origin struct {
	net.PacketConn
	addr netip.AddrPort
}

func listenUDP(t testing.TB, addr string) *origin {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Skipf("no udp socket on %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return &origin{c, netip.MustParseAddrPort(c.LocalAddr().String())}
}

func newOrigin(t testing.TB) *origin {
	o := listenUDP(t, "127.0.0.1:0")
	var wg sync.WaitGroup
	wg.Go(o.serve)
	t.Cleanup(func() { o.Close(); wg.Wait() })
	return o
}

func (o *origin) serve() {
	buf := make([]byte, 2048)
	for {
		n, from, err := o.ReadFrom(buf)
		if err != nil {
			return
		}
		if _, err := o.WriteTo(append([]byte(from.String()+" "), buf[:n]...), from); err != nil {
			return
		}
	}
}

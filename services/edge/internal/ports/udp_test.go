package ports_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/ports"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// far is the tunnel's side: it hands out associations and remembers them.
type far struct {
	opened chan *association
	gate   chan error // when not nil, each opening waits for a value and returns it
	// entered, when not nil, gets a value when an opening begins to wait.
	entered chan struct{}
}

type association struct {
	id      tunnel.ID
	dst     netip.AddrPort
	idle    time.Duration
	deliver func([]byte)
	got     chan string
	closed  chan struct{}

	mu  sync.Mutex // guards err
	err error
}

func (a *association) Send(b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.got <- string(b)
	}
	return a.err
}

func (a *association) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *association) Close() { close(a.closed) }

func (f *far) associate(ctx context.Context, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (ports.Association,
	error,
) {
	if f.entered != nil {
		f.entered <- struct{}{}
	}
	if f.gate != nil {
		select {
		case err := <-f.gate:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	a := &association{id: id, dst: dst, idle: idle, deliver: deliver, got: make(chan string, 100), closed: make(chan struct{})}
	f.opened <- a
	return a, nil
}

// one is a catalog of one port.
type one struct{ port catalog.Port }

func (o one) Ports() []catalog.Port                                 { return []catalog.Port{o.port} }
func (o one) CheckPort(route.Port, tunnel.ID) (known bool, _ error) { return true, nil }
func (o one) DeletePort(route.Port) error                           { return nil }
func (o one) AddPort(route.Port, tunnel.ID, time.Time) (catalog.Port, error) {
	return o.port, nil
}

// listen runs one UDP port and gives its address.
func listen(t *testing.T, name string, f *far, change func(*ports.Config)) netip.AddrPort {
	t.Helper()
	p, err := route.ParseBootstrap(name + "?to=10.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	cfg := ports.Default()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s := ports.New(cfg, ports.Deps{
		Store: one{catalog.Port{Port: p, Tunnel: tunnel.ID{7}}}, Associate: f.associate,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	st := s.List()
	if len(st) != 1 || !st[0].Bound.IsValid() {
		t.Fatalf("the port is not open: %+v", st)
	}
	return st[0].Bound
}

func dial(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn) string {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestDatagramsOfVisitors(t *testing.T) {
	f := &far{opened: make(chan *association, 10)}
	addr := listen(t, "udp://127.0.0.1:0", f, nil)
	visitors := []net.Conn{dial(t, addr), dial(t, addr)}
	for i, c := range visitors {
		say(t, c, fmt.Sprintf("question %d", i))
		a := <-f.opened
		if got := <-a.got; got != fmt.Sprintf("question %d", i) {
			t.Errorf("the origin got %q", got)
		}
		if a.id != (tunnel.ID{7}) || a.dst != netip.MustParseAddrPort("10.0.0.53:53") || a.idle != 210*time.Second {
			t.Errorf("association to %v of %v for %v", a.dst, a.id, a.idle)
		}
		say(t, c, "more")
		if got := <-a.got; got != "more" {
			t.Errorf("the origin got %q", got)
		}
		a.deliver([]byte(fmt.Sprintf("reply %d", i)))
	}
	for i, c := range visitors {
		if got := hear(t, c); got != fmt.Sprintf("reply %d", i) {
			t.Errorf("visitor %d got %q", i, got)
		}
	}
	if len(f.opened) != 0 {
		t.Error("one visitor has two associations")
	}
}

func TestDatagramsWaitForTheirAssociation(t *testing.T) {
	f := &far{opened: make(chan *association, 10), gate: make(chan error), entered: make(chan struct{}, 10)}
	addr := listen(t, "udp://127.0.0.1:0", f, nil)
	c := dial(t, addr)
	say(t, c, "lost")
	<-f.entered
	f.gate <- errors.New("no connector")
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for opening := false; !opening; { // until the failed one is forgotten, datagrams go down with it
		select {
		case <-f.entered:
			opening = true
		case <-again.C:
			say(t, c, "0")
		}
	}
	for i := range 4 {
		say(t, c, fmt.Sprint(i+1))
	}
	f.gate <- nil
	a := <-f.opened
	first := <-a.got
	for i := range 5 {
		if first != fmt.Sprint(i) {
			t.Fatalf("datagram %d: %q", i, first)
		}
		if i == 4 {
			break
		}
		for first = <-a.got; first == "0"; first = <-a.got { // repeated above
		}
	}
	a.fail(transport.ErrDatagramTooLarge) // is about the datagram alone
	say(t, c, "large")
	a.fail(nil)
	say(t, c, "small")
	got := <-a.got
	for got == "large" { // it came after the word above
		got = <-a.got
	}
	if got != "small" {
		t.Errorf("%q", got)
	}
	a.fail(errors.New("ended"))
	say(t, c, "lost, too")
	<-a.closed
	for opening := false; !opening; {
		select {
		case <-f.entered:
			opening = true
		case <-again.C:
			say(t, c, "again")
		}
	}
	f.gate <- nil
	if got := <-(<-f.opened).got; got != "again" {
		t.Errorf("the new association got %q", got)
	}
}

func TestDatagramLimits(t *testing.T) {
	f := &far{opened: make(chan *association, 10)}
	addr := listen(t, "udp://127.0.0.1:0", f, func(c *ports.Config) { c.MaxAssociations = 2 })
	var all []*association
	first, second, third := dial(t, addr), dial(t, addr), dial(t, addr)
	for _, c := range []net.Conn{first, second} {
		say(t, c, "x")
		all = append(all, <-f.opened)
	}
	say(t, first, "y") // so that the second is the one heard of least recently
	<-all[0].got
	<-all[0].got
	say(t, third, "x")
	<-f.opened
	<-all[1].closed
	all[0].deliver([]byte("still here"))
	if got := hear(t, first); got != "still here" {
		t.Errorf("%q", got)
	}
}

// TestDatagramShare: an address that has used up its share replaces its own sources, not those of another address.
func TestDatagramShare(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has every 127.0.0.0/8 on its loopback interface")
	}
	f := &far{opened: make(chan *association, 10)}
	addr := listen(t, "udp://127.0.0.1:0", f, func(c *ports.Config) { c.MaxAssociations, c.MaxAssociationsPerAddress = 4, 2 })
	from := func(ip string) (net.Conn, *association) {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(ip)}}
		c, err := d.DialContext(t.Context(), "udp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		say(t, c, "x")
		return c, <-f.opened
	}
	other, oldest := from("127.0.0.2")
	_, first := from("127.0.0.1")
	from("127.0.0.1")
	from("127.0.0.1") // one too many
	<-first.closed
	oldest.deliver([]byte("still here"))
	if got := hear(t, other); got != "still here" {
		t.Errorf("%q", got)
	}
}

func TestDatagramIdleTime(t *testing.T) {
	f := &far{opened: make(chan *association, 10)}
	addr := listen(t, "udp://127.0.0.1:0", f, func(c *ports.Config) { c.UDPIdleTimeout = 20 * time.Millisecond })
	c := dial(t, addr)
	for range 2 { // after the end of one the next datagram opens another
		say(t, c, "x")
		a := <-f.opened
		<-a.got
		<-a.closed
	}
}

// TestDatagramsReplyFromTheAddressTheyWereSentTo sends to an address of the loopback interface that the kernel would not choose.
func TestDatagramsReplyFromTheAddressTheyWereSentTo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has every 127.0.0.0/8 on its loopback interface")
	}
	f := &far{opened: make(chan *association, 10)}
	for _, name := range []string{"udp://:0", "udp://0.0.0.0:0"} {
		addr := listen(t, name, f, nil)
		for _, ip := range []string{"127.0.0.2", "127.0.0.1"} {
			c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(ip), addr.Port()))
			say(t, c, "x")
			(<-f.opened).deliver([]byte("from " + ip))
			if got := hear(t, c); got != "from "+ip {
				t.Errorf("%q", got)
			}
		}
	}
}

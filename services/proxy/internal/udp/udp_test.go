package udp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/udp"
)

// port asks the origin which address a session has, and checks the rest of the response.
func port(w *worker, id byte, data string) string {
	w.t.Helper()
	m := w.next()
	addr, rest, _ := strings.Cut(string(m.Data), " ")
	if m.Type != packet.Payload || m.ID != (datagram.ID{id}) || rest != data {
		w.t.Fatalf("message type %d of %s with %q, want the response to %q", m.Type, m.ID, m.Data, data)
	}
	return addr
}

func TestDatagramsBothWays(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	w := k.connect(t)
	w.send(register(1, o.addr, "bundled"))
	w.registered(1)
	addr := port(w, 1, "bundled")
	for _, data := range []string{"", "x", strings.Repeat("y", 1200)} {
		w.send(payload(1, data))
		if got := port(w, 1, data); got != addr {
			t.Errorf("source is %s, was %s", got, addr)
		}
	}
	w.send(register(2, o.addr, "")) // an empty payload is none
	w.registered(2)
	w.send(payload(2, "second"))
	if got := port(w, 2, "second"); got == addr {
		t.Errorf("two sessions share the source %s", got)
	}
	if n := k.Sessions(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestIPv6AndMappedDestinations(t *testing.T) {
	k := newKit(t)
	w := k.connect(t)
	six := listenUDP(t, "[::1]:0")
	four := listenUDP(t, "127.0.0.1:0")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(four.addr.Addr().As16()), four.addr.Port())
	buf := make([]byte, 10)
	for i, c := range []struct {
		o    *origin
		dest netip.AddrPort
	}{{six, six.addr}, {four, mapped}} {
		w.send(register(byte(i), c.dest, "hello"))
		w.registered(byte(i))
		if n, _, err := c.o.ReadFrom(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("%s: %q, %v", c.dest, buf[:n], err)
		}
	}
}

func TestRepeatedRegistrationIsResponseedAgain(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	w := k.connect(t)
	for range 3 {
		w.send(register(1, o.addr, ""))
		w.registered(1)
	}
	if n, total := k.figure(t, "registrations_repeated_total", ""), k.figure(t, "sessions_total", ""); n != 2 || total != 1 {
		t.Errorf("%d repeated and %d begun, want 2 and 1", n, total)
	}
}

func TestClosedPortEndsTheSession(t *testing.T) {
	k, o := newKit(t), listenUDP(t, "127.0.0.1:0")
	o.Close()
	w := k.connect(t)
	w.send(register(1, o.addr, "anyone?"))
	w.registered(1)
	w.expect(packet.Ended, datagram.ID{1}, "connection refused")
	if n := k.Sessions(); n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
	if n := k.figure(t, "sessions_failed_total", ""); n != 1 {
		t.Errorf("%d failed, want 1", n)
	}
}

func TestUnregister(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	w := k.connect(t)
	w.send(register(1, o.addr, ""))
	w.registered(1)
	end := packet.Message{Type: packet.Unregister, ID: datagram.ID{1}, Text: "bye"}
	w.send(end, end, payload(1, "late"), register(2, o.addr, ""))
	w.expect(packet.Unknown, datagram.ID{1}, "") // for the late payload
	w.registered(2)
	if n := k.dropped(t, "write_flow_unknown"); n != 1 || k.Sessions() != 1 {
		t.Errorf("%d dropped, %d sessions, want 1 and 1", n, k.Sessions())
	}
}

func TestLimits(t *testing.T) {
	o := newOrigin(t)
	for name, k := range map[string]*kit{
		"flow limit":   newKit(t),
		"max_sessions": newKit(t, func(c *udp.Config, _ *udp.Deps) { c.MaxSessions = 2 }),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "flow limit" {
				k.max = 2
			}
			w := k.connect(t)
			w.send(register(1, o.addr, ""), register(2, o.addr, ""), register(3, o.addr, ""))
			w.registered(1)
			w.registered(2)
			if m := w.expect(packet.Registered, datagram.ID{3}, "too many active flows"); m.Result != datagram.ResultTooManyFlows {
				t.Errorf("result %s, want too_many_flows", m.Result)
			}
			silent := register(3, o.addr, "")
			silent.WantResult = false
			w.send(silent)
			w.expect(packet.Ended, datagram.ID{3}, "too many active flows")
			w.send(packet.Message{Type: packet.Unregister, ID: datagram.ID{1}}, register(3, o.addr, ""))
			w.registered(3)
		})
	}
}

type dialFunc func(ctx context.Context, dst netip.AddrPort) (net.Conn, error)

func (f dialFunc) DialUDP(ctx context.Context, _ tunnel.ID, dst netip.AddrPort) (net.Conn, error) {
	return f(ctx, dst)
}

func with(d udp.Dialer) option { return func(_ *udp.Config, deps *udp.Deps) { deps.Dialer = d } }

func TestSocketsThatCannotBeHadReleaseTheirPlace(t *testing.T) {
	sys := func(err error) error {
		return &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("connect", err)}
	}
	dest := netip.MustParseAddrPort("192.0.2.1:53")
	for name, c := range map[string]struct {
		err    error
		dest   netip.AddrPort
		result datagram.Result
		text   string
	}{
		"no descriptors": {sys(syscall.EMFILE), dest, datagram.ResultNoSocket, syscall.EMFILE.Error()},
		"no route":       {sys(syscall.ENETUNREACH), dest, datagram.ResultUnreachable, syscall.ENETUNREACH.Error()},
		"denied":         {fmt.Errorf("%w: by a rule", ingress.ErrDenied), dest, datagram.ResultError, ingress.ErrDenied.Error()},
		"no port":        {nil, netip.AddrPortFrom(dest.Addr(), 0), datagram.ResultError, "destination has no port"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, with(dialFunc(func(context.Context, netip.AddrPort) (net.Conn, error) { return nil, c.err })))
			k.max = 1
			w := k.connect(t)
			for range 3 { // the reference leaks a place each time
				w.send(register(1, c.dest, ""))
				if m := w.expect(packet.Registered, datagram.ID{1}, c.text); m.Result != c.result {
					t.Errorf("result %s, want %s", m.Result, c.result)
				}
			}
			if n := k.figure(t, "registrations_refused_total", c.result.String()); n != 3 {
				t.Errorf("%d refused, want 3", n)
			}
		})
	}
}

// TestLargeResponses: the worker splits what does not fit into one datagram of its edge, or drops it.
func TestLargeResponses(t *testing.T) {
	k, o := newKit(t), listenUDP(t, "127.0.0.1:0")
	w := k.connect(t)
	w.send(register(1, o.addr, "hello"))
	w.registered(1)
	_, from, err := o.ReadFrom(make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1281, 9000, 65507, 0, 1280} {
		if _, err := o.WriteTo(make([]byte, size), from); err != nil {
			t.Fatal(err)
		}
		if m := w.next(); m.Type != packet.Payload || len(m.Data) != size {
			t.Errorf("type %d with %d bytes, want a payload of %d", m.Type, len(m.Data), size)
		}
	}
}

func TestResponsesBeyondEveryDatagramAreDropped(t *testing.T) {
	socket := newMemSocket() // IPv4 has none that large
	k := newKit(t, with(dialFunc(func(context.Context, netip.AddrPort) (net.Conn, error) { return socket, nil })))
	w := k.connect(t)
	w.send(register(1, dest, ""))
	w.registered(1)
	socket.in <- make([]byte, 65508)
	socket.in <- make([]byte, 65507)
	if m := w.next(); m.Type != packet.Payload || len(m.Data) != 65507 {
		t.Errorf("type %d with %d bytes, want a payload of 65507", m.Type, len(m.Data))
	}
	if n := k.dropped(t, "read_too_large"); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}

func TestHostileFlows(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	good := k.connect(t)
	good.send(register(1, o.addr, "one"))
	good.registered(1)
	port(good, 1, "one")
	for name, b := range map[string][]byte{
		"no type":      {0, 0},
		"short id":     {0, 3, byte(packet.Payload), 1, 2},
		"bad address":  append([]byte{0, 30, byte(packet.Register)}, bytes.Repeat([]byte{7}, 29)...),
		"cut":          {0xff, 0xff, 1, 2, 3},
		"zero garbage": make([]byte, 70000),
	} {
		w := k.connect(t)
		go func() {
			_, _ = w.out.Write(b) // the table may have given up
			_ = w.out.Close()
		}()
		for {
			if _, ok := w.maybe(); !ok {
				break
			}
		}
		if !errors.Is(w.err, errAborted) {
			t.Errorf("%s: flow ended with %v, want an abort", name, w.err)
		}
	}
	skipped := k.connect(t)
	skipped.send(packet.Message{Type: packet.ICMP, Data: []byte("no pinger")},
		packet.Message{Type: packet.Ended}, packet.Message{Type: packet.Registered})
	if _, err := skipped.out.Write([]byte{0, 3, 99, 1, 2}); err != nil {
		t.Fatal(err)
	}
	skipped.send(register(2, o.addr, ""))
	skipped.registered(2)
	if n := k.figure(t, "messages_skipped_total", ""); n != 3 {
		t.Errorf("%d messages skipped, want 3", n)
	}
	good.send(payload(1, "two"))
	port(good, 1, "two")
}

func TestWorkerThatDoesNotReadCostsAQueue(t *testing.T) {
	k := newKit(t, func(c *udp.Config, _ *udp.Deps) { c.QueueBytes = packet.MaxSize })
	o := listenUDP(t, "127.0.0.1:0")
	w := k.connect(t)
	w.send(register(1, o.addr, "hello"))
	_, from, err := o.ReadFrom(make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "drops", func() bool {
		for range 10 {
			if _, err := o.WriteTo(make([]byte, 1000), from); err != nil {
				t.Fatal(err)
			}
		}
		return k.dropped(t, "write_full") > 100
	})
	w.send(payload(1, "still heard"))
	buf := make([]byte, 20)
	if n, _, err := o.ReadFrom(buf); err != nil || string(buf[:n]) != "still heard" {
		t.Errorf("origin got %q, %v", buf[:n], err)
	}
	for range 200 { // control messages have a reserve, which ends as well
		for i := range 10 {
			w.send(register(byte(i), o.addr, ""))
		}
	}
	w.registered(1)
	for range packet.MaxSize / 1100 {
		if m := w.next(); m.Type == packet.Payload && len(m.Data) != 1000 {
			t.Fatalf("payload of %d bytes", len(m.Data))
		}
	}
}

func TestSlowSocketHoldsUpNobody(t *testing.T) {
	o := newOrigin(t)
	var far net.Conn
	slow := netip.MustParseAddrPort("192.0.2.1:1")
	k := newKit(t, with(dialFunc(func(ctx context.Context, dst netip.AddrPort) (net.Conn, error) {
		if dst != slow {
			return (&net.Dialer{}).DialContext(ctx, "udp", dst.String())
		}
		near, other := datagramPair(t)
		far = other
		return near, nil
	})))
	w := k.connect(t)
	w.send(register(1, slow, "0"), register(2, o.addr, ""))
	w.registered(1)
	w.registered(2)
	const sent = 2000
	for i := range sent {
		w.send(payload(1, fmt.Sprint(i+1)))
	}
	w.send(payload(2, "quick"))
	port(w, 2, "quick")
	full := k.dropped(t, "write_full")
	if full == 0 || full >= sent-512 {
		t.Errorf("%d dropped of %d, want all but a queue of 512 and what the socket holds", full, sent)
	}
	testkit.Eventually(t, "a write to give up", func() bool { return k.dropped(t, "write_deadline_exceeded") > 0 })
	buf := make([]byte, 100)
	for i := range 100 {
		n, err := far.Read(buf)
		if err != nil || i < 2 && string(buf[:n]) != fmt.Sprint(i) {
			t.Fatalf("datagram %d is %q, %v", i, buf[:n], err)
		}
	}
}

// datagramPair gives two connected datagram sockets, which take only a few datagrams that nobody reads.
func datagramPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Skipf("no socket pair: %v", err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	return conns[0], conns[1]
}

func TestDrainEndsFlowsInOrder(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	w := k.connect(t)
	w.send(register(1, o.addr, "one"))
	w.registered(1)
	port(w, 1, "one")
	k.Drain()
	if m, ok := w.maybe(); ok {
		t.Fatalf("message %+v, want the end", m)
	}
	w.leave()
	if late := k.connect(t); true {
		if _, ok := late.maybe(); ok || !errors.Is(late.err, errAborted) {
			t.Errorf("flow of a draining table: %v, %v, want an abort", ok, late.err)
		}
	}
	if n := k.Sessions(); n != 1 {
		t.Errorf("%d sessions, want 1 until Close", n)
	}
	k.Close()
	if n := k.Sessions(); n != 0 {
		t.Errorf("%d sessions after Close", n)
	}
}

func TestConcurrentRegistrations(t *testing.T) {
	k, o := newKit(t), newOrigin(t)
	var wg sync.WaitGroup
	for range 8 {
		w := k.connect(t)
		wg.Go(func() {
			for i := range 200 {
				w.send(register(byte(i%10), o.addr, ""))
				for {
					if m := w.next(); m.Type == packet.Registered {
						break
					}
				}
				if i%50 == 49 {
					w.send(packet.Message{Type: packet.Unregister, ID: datagram.ID{byte(i % 10)}})
				}
			}
			w.leave()
		})
	}
	wg.Wait()
	if n := k.Sessions(); n > 10 {
		t.Errorf("%d sessions of 10 ids", n)
	}
	if n, all := k.figure(t, "sessions_orphaned", ""), k.Sessions(); n != all {
		t.Errorf("%d orphans of %d sessions without a flow", n, all)
	}
}

func TestConfigIsChecked(t *testing.T) {
	if err := udp.Default().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := udp.Config{OrphanTimeout: -time.Second}.Validate()
	for _, path := range []string{"max_sessions", "orphan_timeout", "queue_bytes"} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not speak of %s", err, path)
		}
	}
}

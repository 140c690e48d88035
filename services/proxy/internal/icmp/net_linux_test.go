package icmp_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	codec "github.com/culvert-tunnel/culvert/pkg/wire/icmp"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/icmp"
)

// inNamespace tells the child process that it has a network of its own.
const inNamespace = "CULVERT_TEST_OWN_NETWORK"

// TestInOwnNetwork runs the tests named TestNet... in a process with a network namespace of its own, where ping sockets
// are allowed and nobody else is disturbed.
func TestInOwnNetwork(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		t.Skip("this is the own network")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNet", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if pe := (*os.PathError)(nil); err != nil && os.Geteuid() != 0 || asPathError(err, &pe) {
		t.Skipf("no network namespace: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Logf("%s", out)
	}
}

func asPathError(err error, pe **os.PathError) bool {
	e, ok := err.(*os.PathError) //nolint:errorlint // a process that does not start gives it bare
	*pe = e
	return ok
}

// ownNetwork prepares the namespace: loopback up, ping sockets allowed.
func ownNetwork(t *testing.T) {
	t.Helper()
	if os.Getenv(inNamespace) == "" {
		t.Skip("run by TestInOwnNetwork")
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
		t.Skipf("ping sockets cannot be allowed: %v", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %v: %v\n%s", name, args, err, out)
	}
}

func TestNetEchoGetsAReply(t *testing.T) {
	ownNetwork(t)
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	if r.log.Len() > 0 {
		t.Errorf("a log line although ping is allowed: %s", &r.log)
	}
	responses := make(chan []byte, 1)
	back := func(p []byte) bool { responses <- bytes.Clone(p); return true }
	for _, c := range []struct{ from, to string }{{"192.0.2.1", "127.0.0.1"}, {"2001:db8::1", "::1"}} {
		for seq, size := range []int{0, 56, 1200} {
			want := codec.Echo{ID: 0x1234, Seq: uint16(seq), Data: bytes.Repeat([]byte{7}, size)}
			r.Ping(request(t, c.from, c.to, 64, want), back)
			p := parse(t, <-responses)
			got, err := p.Echo()
			if err != nil || !p.IsEchoReply() || got.ID != want.ID || got.Seq != want.Seq || !bytes.Equal(got.Data, want.Data) {
				t.Errorf("%s, %d bytes: %+v, %v", c.to, size, p, err)
			}
			if p.Src.String() != c.to || p.Dst.String() != c.from || p.TTL != 255 {
				t.Errorf("%s, %d bytes: from %s to %s with TTL %d", c.to, size, p.Src, p.Dst, p.TTL)
			}
		}
	}
	if n := r.figure(t, "flows_active", ""); n != 2 {
		t.Errorf("%d flows, want one per address", n)
	}
	testkit.Eventually(t, "6 replies are counted, which happens after they are passed on", func() bool {
		return r.figure(t, "replies_total", "") == 6
	})
	// The last way back counts.
	moved := make(chan []byte, 1)
	again := request(t, "192.0.2.1", "127.0.0.1", 64, codec.Echo{ID: 0x1234, Seq: 9})
	r.Ping(again, func(p []byte) bool { moved <- bytes.Clone(p); return true })
	if e, err := ptr(parse(t, <-moved)).Echo(); err != nil || e.Seq != 9 {
		t.Errorf("after a move: %+v, %v", e, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestNetFlowsAreBounded(t *testing.T) {
	ownNetwork(t)
	cfg := withSources("10.0.0.9", "fd00::9")
	cfg.MaxFlows = 2
	r := newRouter(t, cfg)
	responses := make(chan []byte, 3)
	for id := range uint16(3) {
		r.Ping(request(t, "192.0.2.1", "127.0.0.1", 64, codec.Echo{ID: id}), func(p []byte) bool { responses <- bytes.Clone(p); return true })
	}
	ids := map[uint16]bool{}
	for range 2 {
		e, err := ptr(parse(t, <-responses)).Echo()
		if err != nil {
			t.Fatal(err)
		}
		ids[e.ID] = true
	}
	if n := r.figure(t, "dropped_packets_total", "write_full"); n != 1 || !ids[0] || !ids[1] {
		t.Errorf("%d dropped, responses to %v, want 1 and the first two", n, ids)
	}
	r.Close()
	if n := r.figure(t, "flows_active", ""); n != 0 {
		t.Errorf("%d flows after Close", n)
	}
	r.Ping(request(t, "192.0.2.1", "127.0.0.1", 64, codec.Echo{ID: 9}), func([]byte) bool { t.Error("response after Close"); return true })
}

func TestNetFlowsEndWhenIdle(t *testing.T) {
	ownNetwork(t)
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	icmp.SetIdle(r.Router, 50*time.Millisecond)
	responses := make(chan struct{}, 1)
	r.Ping(request(t, "192.0.2.1", "127.0.0.1", 64, codec.Echo{}), func([]byte) bool { responses <- struct{}{}; return true })
	testkit.Receive(t, "the reply", responses)
	testkit.Eventually(t, "the idle flow has ended", func() bool { return r.figure(t, "flows_active", "") == 0 })
}

// tun is a network in which every packet for 198.51.100.0/24 and 2001:db8:1::/48 reaches the test.
func tun(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no tun device: %v", err)
	}
	req, err := unix.NewIfreq("culvert0")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Skipf("no tun device: %v", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "tun")
	t.Cleanup(func() { f.Close() })
	for _, args := range [][]string{
		{"link", "set", "culvert0", "up"},
		{"addr", "add", "192.0.2.200/32", "dev", "culvert0"},
		{"route", "add", "198.51.100.0/24", "dev", "culvert0"},
		{"addr", "add", "2001:db8::200/128", "dev", "culvert0", "nodad"},
		{"route", "add", "2001:db8:1::/48", "dev", "culvert0"},
	} {
		run(t, "ip", args...)
	}
	testkit.Eventually(t, "the system takes packets for its IPv6 address, which it gets ready in the background", func() bool {
		out, err := exec.CommandContext(t.Context(), "ip", "-6", "route", "show", "table", "local").Output()
		return err == nil && bytes.Contains(out, []byte("2001:db8::200"))
	})
	return f
}

// nextEcho reads packets of the network until one is an echo request.
func nextEcho(t *testing.T, f *os.File) codec.Packet {
	t.Helper()
	buf := make([]byte, 2048)
	for {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := codec.Parse(buf[:n]); err == nil && p.IsEchoRequest() {
			return p
		}
	}
}

func TestNetTracerouteGoesThrough(t *testing.T) {
	ownNetwork(t)
	network := tun(t)
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	responses := make(chan []byte, 1)
	back := func(p []byte) bool { responses <- bytes.Clone(p); return true }
	for _, c := range []struct {
		from, to, router string
		fault            codec.Fault
	}{
		{"203.0.113.1", "198.51.100.7", "198.51.100.1", codec.TimeExceeded(false)},
		{"203.0.113.1", "198.51.100.7", "198.51.100.1", codec.Fault{Type: codec.Unreachable4, Code: 1}},
		{"203.0.113.1", "198.51.100.7", "198.51.100.1", codec.Fault{Type: codec.Unreachable4, Code: codec.CodeFragmentationNeeded, Info: 1400}},
		{"2001:db8:2::1", "2001:db8:1::7", "2001:db8:1::1", codec.TimeExceeded(true)},
		{"2001:db8:2::1", "2001:db8:1::7", "2001:db8:1::1", codec.Fault{Type: codec.Unreachable6, Code: 3}},
	} {
		for _, ttl := range []uint8{2, 3, 64} {
			want := codec.Echo{ID: 77, Seq: uint16(ttl), Data: []byte("traceroute")}
			r.Ping(request(t, c.from, c.to, ttl, want), back)
			p := nextEcho(t, network)
			if p.TTL != ttl-1 || p.Dst.String() != c.to {
				t.Fatalf("%s with TTL %d: the network saw TTL %d to %s", c.to, ttl, p.TTL, p.Dst)
			}
			out, err := codec.AppendError(nil, netip.MustParseAddr(c.router), p.Src, c.fault, p.Raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := network.Write(out); err != nil {
				t.Fatal(err)
			}
			got := parse(t, <-responses)
			if got.Src.String() != c.router || got.Dst.String() != c.from || got.Fault() != c.fault {
				t.Errorf("%s with TTL %d: %+v with %+v, want %+v of %s", c.to, ttl, got, got.Fault(), c.fault, c.router)
			}
			q, err := got.Quote()
			if err != nil || q.Src.String() != c.from || q.Dst.String() != c.to {
				t.Fatalf("%s with TTL %d: quote %+v, %v", c.to, ttl, q, err)
			}
			if e, err := q.Echo(); err != nil || e.ID != want.ID || e.Seq != want.Seq {
				t.Errorf("%s with TTL %d: quote of %d/%d, %v", c.to, ttl, e.ID, e.Seq, err)
			}
		}
	}
	// After all these errors the flow still takes a reply.
	r.Ping(request(t, "203.0.113.1", "198.51.100.7", 64, codec.Echo{ID: 77, Seq: 99}), back)
	p := nextEcho(t, network)
	e, err := p.Echo()
	if err != nil {
		t.Fatal(err)
	}
	reply, err := e.Append(nil, p.Dst, p.Src, 60, codec.Reply)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Write(reply); err != nil {
		t.Fatal(err)
	}
	if got, err := ptr(parse(t, <-responses)).Echo(); err != nil || got.ID != 77 || got.Seq != 99 {
		t.Errorf("reply %+v, %v", got, err)
	}
}

func TestRemedyNamesTheExactRange(t *testing.T) {
	for _, c := range []struct {
		text  string
		group int
		want  string
	}{
		{"1\t0\n", 0, "0 0"}, {"1 0", 1000, "1000 1000"}, {"100 200", 50, "50 200"}, {"100 200", 300, "100 300"}, {"", 7, "7 7"},
	} {
		if got := icmp.Widen(c.text, c.group); got != fmt.Sprintf("net.ipv4.ping_group_range=%q", c.want) {
			t.Errorf("group %d in %q: %s, want %s", c.group, c.text, got, c.want)
		}
	}
}

func FuzzParseExtended(f *testing.F) {
	f.Add(append([]byte{113, 0, 0, 0, 2, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 192, 0, 2, 1}, make([]byte, 8)...))
	f.Add(append([]byte{113, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if fault, from, ok := icmp.ParseExtended(b); ok && (!from.IsValid() || fault.Type == 0) {
			t.Fatalf("%x gave %+v of %s", b, fault, from)
		}
	})
}

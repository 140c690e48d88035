package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// redisServer is a Redis that can be stopped and started again.
type redisServer struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	r := &redisServer{t: t, addr: testkit.FreeTCP(t).String()}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Skip("redis-server is not installed")
	}
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	testkit.Eventually(r.t, "redis listens", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (r *redisServer) stop() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

// holder opens private-network flows through one proxy and keeps them.
type holder struct {
	t       *testing.T
	carrier link.Carrier
	dest    string
	open    []*linktest.Visitor
}

var errLimited = errors.New("too many flows")

// one opens a flow.
func (h *holder) one() error {
	head, err := (&stream.Request{Dest: h.dest, Type: stream.TCP}).Append(nil)
	if err != nil {
		return err
	}
	v, e := linktest.NewVisitor()
	go func() { _ = h.carrier.Carry(h.t.Context(), link.Flow{Stream: e, First: head}) }()
	var resp stream.Response
	var buf []byte
	for {
		b := make([]byte, 4<<10)
		n, err := v.Read(b)
		buf = append(buf, b[:n]...)
		if _, perr := stream.ParseResponse(buf, &resp); perr == nil {
			break
		}
		if err != nil {
			return err
		}
	}
	for _, p := range resp.Metadata {
		if p.Key == stream.KeyFlowLimited {
			return errLimited
		}
	}
	if resp.Error != "" {
		return errors.New(resp.Error)
	}
	h.open = append(h.open, v)
	return nil
}

// take opens flows up to n, as far as the proxy lets.
func (h *holder) take(n int) int {
	h.t.Helper()
	for len(h.open) < n {
		if err := h.one(); errors.Is(err, errLimited) {
			break
		} else if err != nil {
			h.t.Fatal(err)
		}
	}
	return len(h.open)
}

// free ends flows until n are left.
func (h *holder) free(n int) {
	for ; len(h.open) > n; h.open = h.open[1:] {
		h.open[0].CloseWrite()
		_, _ = io.Copy(io.Discard, h.open[0])
	}
}

// TestProxiesShareTheLimitOfFlows: three proxies and a real Redis. Together they never have more flows than the limit, each gets what the
// others do not use, and while Redis is away each keeps its share.
func TestProxiesShareTheLimitOfFlows(t *testing.T) {
	const most = 30
	redis := startRedis(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and reads to the end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	var all [3]*holder
	for i := range all {
		cfg := redisstore.Default()
		cfg.URL = "redis://" + redis.addr
		store, err := redisstore.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		c := proxy.Default()
		c.ID, c.MaxActiveFlows = fmt.Sprint("p", i), fmt.Sprint(most)
		r := run(t, c, proxy.Deps{Rules: helloRules(t), Shares: store})
		t.Cleanup(r.stop)
		all[i] = &holder{t: t, carrier: link.NewDirect(r.svc.Handler()), dest: l.Addr().String()}
	}
	t.Cleanup(func() {
		for _, h := range all {
			h.free(0)
		}
	})
	total := func() (n int) {
		for _, h := range all {
			n += len(h.open)
		}
		if n > most {
			t.Fatalf("%d flows run, the limit is %d", n, most)
		}
		return n
	}
	reach := func(what string, want [3]int, done func() bool) {
		t.Helper()
		began := time.Now()
		testkit.Eventually(t, what, func() bool {
			for i, n := range want {
				all[i].take(n)
			}
			total()
			return done()
		})
		t.Logf("%s after %v: %d, %d, %d", what, time.Since(began), len(all[0].open), len(all[1].open), len(all[2].open))
	}
	reach("one has nearly all", [3]int{most - 4, 2, 2}, func() bool { return total() == most })
	all[0].free(1)
	reach("another one gets it", [3]int{1, most - 3, 2}, func() bool { return total() == most })
	all[1].free(1)
	all[2].free(1)
	reach("two get what the third does not use", [3]int{14, 1, 14}, func() bool { return total() == most-1 })
	all[0].free(10)
	all[2].free(10)
	reach("three share it equally", [3]int{10, 10, 10}, func() bool { return total() == most })
	redis.stop()
	for _, h := range all {
		n := len(h.open)
		h.free(0)
		testkit.Eventually(t, "a proxy without Redis has its share", func() bool { return h.take(n) == n })
		if got := h.take(most); got != n {
			t.Errorf("without Redis a proxy has %d flows, its share was %d", got, n)
		}
	}
	total()
	redis.start() // empty
	for _, h := range all {
		h.free(1)
	}
	reach("one has nearly all after a loss of the store", [3]int{1, 1, most - 2}, func() bool { return total() == most })
}

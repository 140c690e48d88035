package flow_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// nginxAt is a real nginx on an address of loopback, which can be killed and started again.
type nginxAt struct {
	t    *testing.T
	name string
	addr string
	dir  string
	cmd  *exec.Cmd
}

func newNginx(t *testing.T, name, addr, location string) *nginxAt {
	t.Helper()
	nginxBinary(t)
	n := &nginxAt{t: t, name: name, addr: addr, dir: t.TempDir()}
	n.write(location)
	n.start()
	t.Cleanup(n.kill)
	return n
}

// write sets what the server responds with.
func (n *nginxAt) write(location string) {
	n.t.Helper()
	conf := fmt.Sprintf(`
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  access_log off; keepalive_requests 100000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; add_header Server-Name %[3]s always; %[4]s }
}`, n.dir, n.addr, n.name, location)
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nginxAt) start() {
	n.t.Helper()
	n.cmd = exec.Command("nginx", "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"))
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	testkit.Eventually(n.t, "nginx listens on "+n.addr, func() bool {
		c, err := net.Dial("tcp", n.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (n *nginxAt) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

const fine = `location / { return 200 "fine\n"; }`

// balanced is a handler for rules with several origins, and its table.
type balanced struct {
	*flow.Handler
	t     *testing.T
	table *router.Table
}

func serveBalanced(t *testing.T, text string, lookup balance.Lookup) balanced {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	hub := balance.NewHub(log, lookup, nil)
	table, err := router.New(compile(t, text), opener.New(log, nil).WithHub(hub))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return balanced{newHandler(flow.Config{SpoolLimit: 1 << 20}, table, log, nil), t, table}
}

// states are the states of the origins of the first rule, such as "up down up".
func (b balanced) states() string {
	var out []string
	for _, s := range b.table.Default().Rules()[0].Origins {
		out = append(out, s.State)
	}
	return strings.Join(out, " ")
}

// load sends requests from several clients until stop is called, which gives the responses by server and fails for one that failed.
func (b balanced) load() (stop func() map[string]int) {
	var mu sync.Mutex
	seen := map[string]int{}
	var bad []string
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				a := do(b.t, b, get("GET", "/"), "")
				mu.Lock()
				seen[strings.Join(a.values("Server-Name"), "")]++
				if a.status != "200" || a.body != "fine\n" || a.end != nil {
					bad = append(bad, fmt.Sprintf("%+v", a))
				}
				mu.Unlock()
			}
		})
	}
	return func() map[string]int {
		close(over)
		wg.Wait()
		if len(bad) > 0 {
			b.t.Errorf("%d safe requests failed, the first: %s", len(bad), bad[0])
		}
		return seen
	}
}

// during runs f under load and gives the responses by server.
func (b balanced) during(f func()) map[string]int {
	stop := b.load()
	f()
	return stop()
}

func threeNginx(t *testing.T) (addrs [3]string, servers [3]*nginxAt) {
	t.Helper()
	for i := range servers {
		addrs[i] = testkit.FreeTCP(t).String()
		servers[i] = newNginx(t, string(rune('a'+i)), addrs[i], fine)
	}
	return addrs, servers
}

func TestBalanceSurvivesOriginsThatFail(t *testing.T) {
	addrs, servers := threeNginx(t)
	b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http://%[1]s
    services: [http://%[1]s, http://%[2]s, http://%[3]s]
    originRequest: {responseHeaderTimeout: 500ms}
    balance:
      slowStart: 0s
      healthCheck: {interval: 1s, timeout: 500ms, rise: 1, fall: 1}
      eject: {failures: 3, for: 1s}
`, addrs[0], addrs[1], addrs[2]), nil)
	is := func(want string) {
		t.Helper()
		began := time.Now()
		testkit.Eventually(t, "states "+want, func() bool { return b.states() == want })
		t.Logf("states %q after %v", want, time.Since(began))
	}
	served := func(name string) {
		t.Helper()
		testkit.Eventually(t, name+" serves", func() bool {
			return strings.Join(do(t, b, get("GET", "/"), "").values("Server-Name"), "") == name
		})
	}
	is("up up up")
	all := b.during(func() { served("a"); served("b"); served("c") })
	if len(all) != 3 {
		t.Errorf("servers %v", all)
	}
	b.during(func() {
		servers[0].kill()
		is("down up up")
		servers[0].start()
		is("up up up")
		served("a")
	})
	// One that responds with 500 is ejected by the requests, whatever its checks say, and one that is slow by their timeouts.
	for i, ill := range []string{`location / { return 500; }`, `location / { proxy_pass http://127.0.0.1:1; }`} {
		b.during(func() {
			servers[1].kill()
			servers[1].write(ill)
			servers[1].start()
			testkit.Eventually(t, fmt.Sprintf("origin %d is left out", i), func() bool { return strings.Contains(b.states(), "up down up") })
			servers[1].kill()
			servers[1].write(fine)
			servers[1].start()
			is("up up up")
			served("b")
		})
	}
}

func TestBalanceLeavesASlowOriginOut(t *testing.T) {
	var slow atomic.Bool
	release := make(chan struct{})
	origin := func(name string, s *atomic.Bool) string {
		return httpOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			if s != nil && s.Load() {
				select {
				case <-r.Context().Done():
				case <-release:
				}
				return
			}
			w.Header().Set("Server-Name", name)
			_, _ = io.WriteString(w, "fine\n")
		})
	}
	t.Cleanup(func() { close(release) })
	b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - services: [%s, %s]
    service: http_status:500
    originRequest: {responseHeaderTimeout: 200ms}
    balance: {slowStart: 0s, eject: {failures: 2, for: 1s}, panicThreshold: 0}
`, origin("quick", nil), origin("slow", &slow)), nil)
	b.during(func() {
		slow.Store(true)
		testkit.Eventually(t, "the slow one is ejected", func() bool { return b.states() == "up ejected" })
		slow.Store(false)
		testkit.Eventually(t, "it is back", func() bool { return b.states() == "up up" })
	})
}

func TestBalanceFollowsAName(t *testing.T) {
	port := testkit.FreeTCP(t).Port()
	for i, name := range []string{"a", "b", "c"} {
		newNginx(t, name, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(10 + i)}), port).String(), fine)
	}
	var addrs atomic.Pointer[[]netip.Addr]
	set := func(last ...byte) {
		list := []netip.Addr{}
		for _, l := range last {
			list = append(list, netip.AddrFrom4([4]byte{127, 0, 0, l}))
		}
		addrs.Store(&list)
	}
	set(10, 11)
	b := serveBalanced(t, fmt.Sprintf(`
ingress:
  - service: http://app.test:%[1]d
    services: ["http://app.test:%[1]d"]
    balance: {resolve: 1s, slowStart: 0s}
`, port), func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "app.test" {
			return nil, fmt.Errorf("lookup of %q", host)
		}
		return append([]netip.Addr{}, *addrs.Load()...), nil
	})
	uses := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprint(want, " serve"), func() bool {
			seen := map[string]bool{}
			for range 12 {
				seen[strings.Join(do(t, b, get("GET", "/"), "").values("Server-Name"), "")] = true
			}
			for _, w := range want {
				if !seen[w] {
					return false
				}
			}
			return len(seen) == len(want)
		})
	}
	b.during(func() {
		uses("a", "b")
		set(11, 12)
		uses("b", "c")
		set() // the name is gone: the last addresses stay
		uses("b", "c")
		set(10)
		uses("a")
	})
}

func TestBalanceKeepsHealthAcrossASwap(t *testing.T) {
	url := httpOrigin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine\n") })
	gone := "http://" + testkit.FreeTCP(t).String()
	text := func(more string) string {
		return fmt.Sprintf(`
ingress:
  - service: http_status:500
    services: [%s, %s%s]
    balance: {healthCheck: {interval: 1h, fall: 1}}
`, url, gone, more)
	}
	b := serveBalanced(t, text(""), nil)
	testkit.Eventually(t, "one is down", func() bool { return b.states() == "up down" })
	for range 20 {
		if err := b.table.SwapDefault(compile(t, text(""))); err != nil {
			t.Fatal(err)
		}
		if s := b.states(); s != "up down" {
			t.Fatalf("states %q after a swap, want them kept", s)
		}
	}
	if err := b.table.SwapDefault(compile(t, text(", {service: \"http://127.0.0.1:1\", backup: true}"))); err != nil {
		t.Fatal(err)
	}
	if s := b.states(); !strings.HasPrefix(s, "up down") {
		t.Errorf("states %q after a third origin came, want those of the others kept", s)
	}
	if a := do(t, b, get("GET", "/"), ""); a.body != "fine\n" {
		t.Errorf("response %+v", a)
	}
}

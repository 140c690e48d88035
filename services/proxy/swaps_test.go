package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// The tunnels, by who gives them rules. The edge pushes to the first three. An operator puts versions in force for the third, too, and for
// the fourth. The file has rules for the last two, so those for the fourth are never in force.
const (
	pushedTunnels = 3
	contested     = 2
	operated      = 3
	filed         = 4
	swapTunnels   = 5
	visitors      = 4
)

func swapTunnel(n int) tunnel.ID { return tunnel.ID{15: byte(n + 1)} }

// swapping is one proxy whose rules are replaced all the time.
type swapping struct {
	*running
	file    string
	watcher *filewatch.Watcher
	carrier link.Carrier
	api     *echo.Echo
	faults  atomic.Int64 // files that the watcher could not use
}

func newSwapping(t *testing.T, id, origin string, store *redisstore.Store, key *rules.Key) *swapping {
	t.Helper()
	dir := t.TempDir()
	p := &swapping{file: filepath.Join(dir, "rules.yml"), api: echo.New()}
	p.write(t, origin, 0)
	p.watcher = filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			p.faults.Add(1)
		}
	})
	cfg := proxy.Default()
	cfg.ID, cfg.ConfigFile, cfg.StateDir = id, p.file, filepath.Join(dir, "state")
	p.running = run(t, cfg, proxy.Deps{Files: p.watcher, Versions: store, RuleKey: key})
	p.carrier = link.NewDirect(p.svc.Handler())
	p.svc.Routes(p.api.Group("/v1"))
	return p
}

// write replaces the local rules by those of a version.
func (p *swapping) write(t *testing.T, origin string, version int) {
	t.Helper()
	var text strings.Builder
	for _, n := range []int{operated, filed} {
		fmt.Fprintf(&text, "---\ntunnel: %s\ningress: [{service: %q, originRequest: {httpHostHeader: f%d}}]\n", swapTunnel(n), origin, version)
	}
	if err := os.WriteFile(p.file, []byte(text.String()), 0o600); err != nil {
		t.Error(err)
	}
}

// swap puts version in force by push and by file, with an older and a bad document in between.
func (p *swapping) swap(ctx context.Context, t *testing.T, origin string, version int) {
	t.Helper()
	push := func(n, v int, doc string) (int32, error) {
		return p.svc.Apply(ctx, remoteconfig.Update{Tunnel: swapTunnel(n), Version: int32(v), Document: []byte(doc)})
	}
	for n := range pushedTunnels {
		// On the contested tunnel an operator's version may stand on top of a later push, which another proxy has already.
		ahead := func(v int32) bool { return int(v) == version || n == contested && int(v) > version }
		if v, err := push(n, version, swapDocument(origin, "v", version)); !ahead(v) || err != nil {
			t.Errorf("tunnel %d, version %d: %d, %v", n, version, v, err)
		}
		if v, err := push(n, version-1, `{"ingress":[{"service":"http_status:500"}]}`); !ahead(v) || err != nil {
			t.Errorf("tunnel %d, an older version: %d, %v", n, v, err)
		}
		if v, err := push(n, version+1, `{"ingress":[{"service":"nonsense"}]}`); !ahead(v) || err == nil && int(v) == version {
			t.Errorf("tunnel %d, a bad document: %d, %v", n, v, err)
		}
	}
	if version%10 == 0 {
		if err := os.WriteFile(p.file, []byte("ingress: ["), 0o600); err != nil {
			t.Error(err)
		}
		p.watcher.Check()
	}
	p.write(t, origin, version)
	p.watcher.Check()
}

// swapDocument is a document whose requests reach the origin with a Host that names it.
func swapDocument(origin, by string, version int) string {
	return fmt.Sprintf(`{"ingress":[{"service":%q,"originRequest":{"httpHostHeader":"%s%d"}}]}`, origin, by, version)
}

// place is the position of what a proxy has in force for a tunnel, as its ops API shows it.
func (p *swapping) place(n int) (rules.Position, error) {
	w := httptest.NewRecorder()
	p.api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/proxy/tunnels/"+swapTunnel(n).String(), http.NoBody))
	var st struct {
		Push   int32  `json:"config_version"`
		Number uint64 `json:"config_number"`
	}
	err := json.Unmarshal(w.Body.Bytes(), &st)
	return rules.Position{Push: st.Push, Number: st.Number}, err
}

// visit sends one request, and returns who made the rules that it met (v, f or a) and their version, or an error.
func (p *swapping) visit(ctx context.Context, n int) (by byte, version int, err error) {
	r := stream.Request{Dest: "https://app.example.com/", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: "app.example.com"},
	}}
	head, err := r.Append(nil)
	if err != nil {
		return 0, 0, err
	}
	s := newEdgeStream(ctx)
	if err := p.carrier.Carry(ctx, link.Flow{Meta: link.Meta{Tunnel: swapTunnel(n)}, Stream: s, First: head, EOF: true}); err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var resp stream.Response
	used, err := stream.ParseResponse(s.response, &resp)
	if err != nil || !s.fin || s.reset || resp.Error != "" || resp.Metadata[0].Val != "200" {
		return 0, 0, fmt.Errorf("response %+v, %w, fin %v, reset %v", resp, err, s.fin, s.reset)
	}
	body := s.response[used:]
	if len(body) == 0 {
		return 0, 0, errors.New("an empty body")
	}
	version, err = strconv.Atoi(string(body[1:]))
	return body[0], version, err
}

// TestSwapsUnderLoad replaces the rules of five tunnels on three proxies, by pushes of the edge, by files and by an operator through the
// store at once, while visitors send requests: none fails, none meets an older version than one before it, and nothing is left behind.
func TestSwapsUnderLoad(t *testing.T) { swapsUnderLoad(t, 30) }

// TestTenThousandSwapsUnderLoad is the same with 10,008 swaps by push and file, and those by the operator besides.
func TestTenThousandSwapsUnderLoad(t *testing.T) {
	testkit.Long(t, "10,000 swaps of rules on three proxies take some minutes")
	swapsUnderLoad(t, 834)
}

// swapStore is a real Redis where one is installed, else the embedded store.
func swapStore(t *testing.T) *redisstore.Store {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Log("no redis-server: the embedded store is used")
		s, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	socket := filepath.Join(t.TempDir(), "r.sock")
	cmd := exec.Command(binary, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var s *redisstore.Store
	testkit.Retry(t, "Redis", testkit.Patience, func() (err error) {
		if s, err = redisstore.OpenURL(t.Context(), "unix://"+socket); err != nil {
			return err
		}
		_, err = s.RuleHeads(t.Context(), 0)
		return err
	})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// operator puts versions in force for the contested and the operated tunnel until ctx ends, and waits for the proxies each time. It
// returns how many swaps it made.
func operator(ctx context.Context, t *testing.T, s *redisstore.Store, key *rules.Key, origin string) (swaps int) {
	t.Helper()
	for v := 2; ctx.Err() == nil && !t.Failed(); v++ {
		for _, n := range []int{contested, operated} {
			at := putVersion(t, s, key, n, swapDocument(origin, "a", v))
			testkit.Retry(t, "the operator's version is in force or overtaken", testkit.Patience, func() error {
				h, err := s.RuleHistory(t.Context(), swapTunnel(n))
				if err != nil {
					return err
				}
				for _, r := range h.Results {
					if r.InForce.Compare(at) < 0 {
						return fmt.Errorf("%s has %+v, want %+v or later", r.Proxy, r.InForce, at)
					}
				}
				return nil
			})
			swaps += 3
		}
	}
	return swaps
}

// putVersion writes an operator's version.
func putVersion(t *testing.T, s *redisstore.Store, key *rules.Key, n int, document string) rules.Position {
	t.Helper()
	id := swapTunnel(n)
	h, err := s.RuleHistory(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := h.Newest()
	number, err := s.PutRules(t.Context(), id, last.Number, rules.Head{Hash: key.Hash([]byte(document))},
		func(at rules.Position) string { return key.Seal(id, at, []byte(document)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Hint(t.Context(), lease.TopicRules); err != nil {
		t.Fatal(err)
	}
	if h, err = s.RuleHistory(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	v, _ := h.Find(number)
	return v.Position
}

func swapsUnderLoad(t *testing.T, rounds int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer server.Close()
	store, key := swapStore(t), ruleKey(t, "k")
	var proxies []*swapping
	for i := range 3 {
		p := newSwapping(t, fmt.Sprintf("p%d", i), server.URL, store, key)
		defer p.stop()
		proxies = append(proxies, p)
	}
	for _, p := range proxies {
		p.swap(t.Context(), t, server.URL, 1)
	}
	first := putVersion(t, store, key, operated, swapDocument(server.URL, "a", 1))
	for i, p := range proxies {
		testkit.Retry(t, "the operator's first version is in force", testkit.Patience, func() error {
			if at, err := p.place(operated); err != nil || at != first {
				return fmt.Errorf("proxy %d has %+v, %w, want %+v", i, at, err, first)
			}
			return nil
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	var requests atomic.Int64
	// Of each tunnel but the contested one, one source alone has rules in force: its versions never go back. Of the contested one, each
	// source's do not, and the positions, which order both, are looked at below.
	visit := func(newest map[string]int) {
		for i, p := range proxies {
			for n := range swapTunnels {
				by, version, err := p.visit(t.Context(), n)
				requests.Add(1)
				k := fmt.Sprintf("proxy %d, tunnel %d, %c", i, n, by)
				if err != nil || version < newest[k] || n != contested && by != map[int]byte{operated: 'a', filed: 'f'}[n] && by != 'v' {
					t.Errorf("%s: version %d after %d, %v", k, version, newest[k], err)
				}
				newest[k] = version
			}
		}
	}
	visit(map[string]int{})
	before := measureProcess()
	var visiting, swaps, operating sync.WaitGroup
	for range visitors {
		visiting.Go(func() {
			newest, places := map[string]int{}, map[[2]int]rules.Position{}
			for ctx.Err() == nil && !t.Failed() {
				visit(newest)
				for i, p := range proxies {
					for n := range swapTunnels {
						at, err := p.place(n)
						if former, seen := places[[2]int{i, n}]; err != nil || seen && at.Compare(former) < 0 {
							t.Errorf("proxy %d, tunnel %d: at %+v after %+v, %v", i, n, at, former, err)
						}
						places[[2]int{i, n}] = at
					}
				}
			}
		})
	}
	began := time.Now()
	for _, p := range proxies {
		swaps.Go(func() {
			for v := 2; v < 2+rounds && !t.Failed(); v++ {
				p.swap(t.Context(), t, server.URL, v)
			}
		})
	}
	operate, endOperator := context.WithCancel(t.Context())
	operatorSwaps := 0
	operating.Go(func() { operatorSwaps = operator(operate, t, store, key, server.URL) })
	swaps.Wait()
	endOperator()
	operating.Wait()
	took := time.Since(began)
	stop()
	visiting.Wait()
	last := map[string]int{}
	visit(last)
	for k, version := range last {
		if by := k[len(k)-1]; by != 'a' && version != rounds+1 {
			t.Errorf("%s: version %d at the end, want %d", k, version, rounds+1)
		}
	}
	for i, p := range proxies {
		if want := int64((rounds + 1) / 10); p.faults.Load() != want {
			t.Errorf("proxy %d: %d files not used, want %d", i, p.faults.Load(), want)
		}
	}
	// The last rules of each tunnel may keep a connection for each visitor, with two goroutines and a descriptor at either end.
	const idle = 3 * swapTunnels * visitors
	testkit.Retry(t, "what the swaps made is gone", testkit.Patience, func() error {
		now := measureProcess()
		if now.goroutines <= before.goroutines+4*idle && now.files <= before.files+2*idle && now.heap <= before.heap+8<<20 {
			return nil
		}
		return fmt.Errorf("%+v, before %+v, with at most %d idle connections", now, before, idle)
	})
	after := measureProcess()
	t.Logf("%d swaps by push and file, %d by an operator, and %d requests (%.0f a second) in %v; goroutines %d before and %d after, "+
		"files %d and %d, heap %d and %d KiB", 12*rounds, operatorSwaps, requests.Load(), float64(requests.Load())/took.Seconds(), took,
		before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
}

// resources are what a process holds.
type resources struct {
	goroutines, files int
	heap              uint64
}

func measureProcess() resources {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r := resources{goroutines: runtime.NumGoroutine(), heap: m.HeapAlloc}
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil { // not everywhere; then files are not compared
		r.files = len(entries)
	}
	return r
}

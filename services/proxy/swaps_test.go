package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

const (
	pushedTunnels = 3 // of the edge
	localTunnels  = 2 // of the file
	visitors      = 4
)

func swapTunnel(n int) tunnel.ID { return tunnel.ID{15: byte(n + 1)} }

// swapping is one proxy whose rules are replaced all the time.
type swapping struct {
	*running
	file    string
	watcher *filewatch.Watcher
	carrier link.Carrier
	faults  atomic.Int64 // files that the watcher could not use
}

func newSwapping(t *testing.T, origin string) *swapping {
	t.Helper()
	dir := t.TempDir()
	p := &swapping{file: filepath.Join(dir, "rules.yml")}
	p.write(t, origin, 0)
	p.watcher = filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			p.faults.Add(1)
		}
	})
	cfg := proxy.Default()
	cfg.ConfigFile, cfg.StateDir = p.file, filepath.Join(dir, "state")
	p.running = run(t, cfg, proxy.Deps{Files: p.watcher})
	p.carrier = link.NewDirect(p.svc.Handler())
	return p
}

// write replaces the local rules by those of a version.
func (p *swapping) write(t *testing.T, origin string, version int) {
	t.Helper()
	var text strings.Builder
	for n := range localTunnels {
		fmt.Fprintf(&text, "---\ntunnel: %s\ningress: [{service: %q, originRequest: {httpHostHeader: v%d}}]\n",
			swapTunnel(pushedTunnels+n), origin, version)
	}
	if err := os.WriteFile(p.file, []byte(text.String()), 0o600); err != nil {
		t.Error(err)
	}
}

// swap puts version in force for all tunnels, by push and by file, with an older and a bad document in between.
func (p *swapping) swap(ctx context.Context, t *testing.T, origin string, version int) {
	t.Helper()
	push := func(n, v int, doc string) (int32, error) {
		return p.svc.Apply(ctx, remoteconfig.Update{Tunnel: swapTunnel(n), Version: int32(v), Document: []byte(doc)})
	}
	for n := range pushedTunnels {
		doc := fmt.Sprintf(`{"ingress":[{"service":%q,"originRequest":{"httpHostHeader":"v%d"}}]}`, origin, version)
		if v, err := push(n, version, doc); int(v) != version || err != nil {
			t.Errorf("tunnel %d, version %d: %d, %v", n, version, v, err)
		}
		if v, err := push(n, version-1, `{"ingress":[{"service":"http_status:500"}]}`); int(v) != version || err != nil {
			t.Errorf("tunnel %d, an older version: %d, %v", n, v, err)
		}
		if v, err := push(n, version+1, `{"ingress":[{"service":"nonsense"}]}`); int(v) != version || err == nil {
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

// visit sends one request, and returns the version of the rules that it met, or an error.
func (p *swapping) visit(ctx context.Context, n int) (int, error) {
	r := stream.Request{Dest: "https://app.example.com/", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: "app.example.com"},
	}}
	head, err := r.Append(nil)
	if err != nil {
		return 0, err
	}
	s := newEdgeStream(ctx)
	if err := p.carrier.Carry(ctx, link.Flow{Meta: link.Meta{Tunnel: swapTunnel(n)}, Stream: s, First: head, EOF: true}); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var resp stream.Response
	used, err := stream.ParseResponse(s.response, &resp)
	if err != nil || !s.fin || s.reset || resp.Error != "" || resp.Metadata[0].Val != "200" {
		return 0, fmt.Errorf("response %+v, %w, fin %v, reset %v", resp, err, s.fin, s.reset)
	}
	return strconv.Atoi(strings.TrimPrefix(string(s.response[used:]), "v"))
}

// TestSwapsUnderLoad replaces the rules of five tunnels on three proxies, by pushes of the edge and by files at once, while visitors send
// requests: none fails, none meets an older version than one before it, and nothing is left behind.
func TestSwapsUnderLoad(t *testing.T) { swapsUnderLoad(t, 30) }

// TestTenThousandSwapsUnderLoad is the same with 10,008 swaps: 4 on each proxy in each round.
func TestTenThousandSwapsUnderLoad(t *testing.T) {
	testkit.Long(t, "10,000 swaps of rules on three proxies take about two minutes")
	swapsUnderLoad(t, 834)
}

func swapsUnderLoad(t *testing.T, rounds int) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer server.Close()
	var proxies []*swapping
	for range 3 {
		p := newSwapping(t, server.URL)
		defer p.stop()
		proxies = append(proxies, p)
	}
	for _, p := range proxies {
		p.swap(t.Context(), t, server.URL, 1)
	}
	ctx, stop := context.WithCancel(t.Context())
	var requests atomic.Int64
	visit := func(newest map[[2]int]int) {
		for i, p := range proxies {
			for n := range pushedTunnels + localTunnels {
				version, err := p.visit(t.Context(), n)
				requests.Add(1)
				if err != nil || version < newest[[2]int{i, n}] {
					t.Errorf("proxy %d, tunnel %d: version %d after %d, %v", i, n, version, newest[[2]int{i, n}], err)
				}
				newest[[2]int{i, n}] = version
			}
		}
	}
	visit(map[[2]int]int{})
	before := measureProcess()
	var visiting, swaps sync.WaitGroup
	for range visitors {
		visiting.Go(func() {
			for newest := map[[2]int]int{}; ctx.Err() == nil && !t.Failed(); {
				visit(newest)
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
	swaps.Wait()
	took := time.Since(began)
	stop()
	visiting.Wait()
	last := map[[2]int]int{}
	visit(last)
	for key, version := range last {
		if version != rounds+1 {
			t.Errorf("proxy %d, tunnel %d: version %d at the end, want %d", key[0], key[1], version, rounds+1)
		}
	}
	for i, p := range proxies {
		if want := int64((rounds + 1) / 10); p.faults.Load() != want {
			t.Errorf("proxy %d: %d files not used, want %d", i, p.faults.Load(), want)
		}
	}
	// The last rules of each tunnel may keep a connection for each visitor, with two goroutines and a descriptor at either end.
	const idle = 3 * (pushedTunnels + localTunnels) * visitors
	testkit.Retry(t, "what the swaps made is gone", testkit.Patience, func() error {
		now := measureProcess()
		if now.goroutines <= before.goroutines+4*idle && now.files <= before.files+2*idle && now.heap <= before.heap+8<<20 {
			return nil
		}
		return fmt.Errorf("%+v, before %+v, with at most %d idle connections", now, before, idle)
	})
	after := measureProcess()
	t.Logf("%d swaps and %d requests in %v; goroutines %d before and %d after, files %d and %d, heap %d and %d KiB",
		12*rounds, requests.Load(), took, before.goroutines, after.goroutines, before.files, after.files, before.heap>>10, after.heap>>10)
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

//go:build system

package system_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// attack is one kind of hostile peer. It ends by itself or with ctx and returns the number of its attempts. It ignores
// the responses.
type attack func(ctx context.Context) int

// siege bounds the duration of the attacks.
const siege = 20 * time.Second

// watched is a process under attack.
type watched struct {
	name    string
	program *harness.Program
	metrics string

	before, after             figures
	mu                        sync.Mutex // guards peak
	peak                      figures
	countsBefore, countsAfter map[string]float64
}

// counters are the metrics of refusals, drops and failures.
func counters(t *testing.T, metrics string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for l := range strings.SplitSeq(get(t, "http://"+metrics+"/metrics"), "\n") {
		name, val, ok := strings.Cut(l, " ")
		if !ok || !strings.HasPrefix(name, "culvert_") || !strings.Contains(name, "_total") {
			continue
		}
		if n, err := strconv.ParseFloat(val, 64); err == nil {
			out[name] = n
		}
	}
	return out
}

// besiege runs all attacks at once while honest sends valid requests, then checks the resources of the processes.
func besiege(t *testing.T, attacks map[string]attack, honest func(ctx context.Context) error, all ...*watched) {
	t.Helper()
	for _, w := range all {
		w.before = measure(t, w.program.Cmd.Process.Pid, w.metrics)
		w.countsBefore = counters(t, w.metrics)
	}
	ctx, cancel := context.WithTimeout(t.Context(), siege)
	defer cancel()
	var hostile, others sync.WaitGroup
	attempts := map[string]*atomic.Int64{}
	for name, a := range attacks {
		n := new(atomic.Int64)
		attempts[name] = n
		hostile.Go(func() { n.Store(int64(a(ctx))) })
	}
	over, end := context.WithCancel(t.Context())
	var asked, failed, slowest atomic.Int64
	began := time.Now()
	for range 2 {
		others.Go(func() {
			for over.Err() == nil {
				asked.Add(1)
				sent := time.Now()
				if err := honest(t.Context()); err != nil {
					if failed.Add(1) <= 5 {
						t.Errorf("an honest visitor: %v", err)
					}
				}
				for took, old := int64(time.Since(sent)), slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); {
					old = slowest.Load()
				}
			}
		})
	}
	for _, w := range all {
		others.Go(func() { w.observe(over, t) })
	}
	hostile.Wait()
	took := time.Since(began)
	end()
	others.Wait()
	for _, w := range all {
		w.settle(t)
	}
	for _, name := range slices.Sorted(maps.Keys(attempts)) {
		t.Logf("attack %-28s %8d attempts", name, attempts[name].Load())
	}
	t.Logf("honest visitors: %d of %d failed in %v, the slowest took %v", failed.Load(), asked.Load(), took.Round(time.Millisecond),
		time.Duration(slowest.Load()).Round(time.Millisecond))
	for _, w := range all {
		w.report(t)
	}
}

// observe records the highest figures.
func (w *watched) observe(over context.Context, t *testing.T) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over.Done():
			return
		case <-tick.C:
		}
		f := measure(t, w.program.Cmd.Process.Pid, w.metrics)
		w.mu.Lock()
		w.peak = figures{max(w.peak.descriptors, f.descriptors), max(w.peak.goroutines, f.goroutines), max(w.peak.residentMiB, f.residentMiB)}
		w.mu.Unlock()
	}
}

// settle waits until the process needs no more resources than before.
func (w *watched) settle(t *testing.T) {
	t.Helper()
	testkit.Retry(t, w.name+": descriptors and goroutines of before", 2*patience, func() error {
		w.after = measure(t, w.program.Cmd.Process.Pid, w.metrics)
		if w.after.descriptors > w.before.descriptors+32 || w.after.goroutines > w.before.goroutines+320 { // idle connections and runners
			return fmt.Errorf("before %v, after %v", w.before, w.after)
		}
		return nil
	})
	w.countsAfter = counters(t, w.metrics)
}

func (w *watched) report(t *testing.T) {
	t.Helper()
	select {
	case <-w.program.Exited:
		t.Errorf("%s ended: %v", w.name, w.program.Err)
	default:
	}
	if strings.Contains(w.program.Out.String(), "panic") {
		t.Errorf("%s panicked", w.name)
	}
	if w.peak.residentMiB > w.before.residentMiB+maxGrowth {
		t.Errorf("%s: resident memory went from %d to %d MiB", w.name, w.before.residentMiB, w.peak.residentMiB)
	}
	t.Logf("%s before: %v; at most: %v; after: %v", w.name, w.before, w.peak, w.after)
	for _, name := range slices.Sorted(maps.Keys(w.countsAfter)) {
		if d := w.countsAfter[name] - w.countsBefore[name]; d > 0 {
			t.Logf("%s %-90s +%.0f", w.name, name, d)
		}
	}
}

// maxGrowth is how many MiB a process may grow during the attacks: far less than they try to make it allocate.
const maxGrowth = 768

// TestHostileVisitors floods the edge with broken, slow and greedy visitors and with false connectors.
func TestHostileVisitors(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			o := hostileOrigins(t)
			edgeOps, connectorOps := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			https := harness.FreePort(t)
			d := &deployment{
				name: "hostile/" + protocol, form: oneProcess, protocol: protocol, procs: map[string][]*harness.Program{},
				tlsURL: fmt.Sprintf("https://localhost:%d", https), origins: o,
			}
			d.edge = harness.StartEdge(t, fmt.Sprintf("CULVERT_PUBLIC_HTTPS=127.0.0.1:%d", https), "CULVERT_PUBLIC_NAMES=localhost",
				"CULVERT_OPS_LISTEN="+edgeOps, "CULVERT_PORTS_UDP_IDLE_TIMEOUT=5s")
			d.caFile = d.edge.Data + "/ca.pem"
			c := harness.Start(t, []string{"TUNNEL_TOKEN=" + d.edge.Token}, harness.Binary(t, "culvert"),
				append([]string{"tunnel", "--metrics", connectorOps}, d.edge.ConnectorCommand(protocol, o.http.URL)[1:]...)...)
			d.awaitConnections(t, 4)
			target := visitorTarget{
				http: strings.TrimPrefix(d.edge.URL, "http://"), https: strings.TrimPrefix(d.tlsURL, "https://"), caFile: d.caFile,
				tcp: d.publish(t, "tcp", "--to", o.echo), connectors: fmt.Sprintf("127.0.0.1:%d", d.edge.Ports[5]),
			}
			attacks := target.attacks()
			if d.datagrams() {
				udp := d.publish(t, "udp", "--to", o.echo)
				attacks["sources of datagrams"] = func(ctx context.Context) int { return manySources(ctx, udp) }
			}
			besiege(t, attacks, func(ctx context.Context) error { return honestGet(ctx, d.edge.URL+"/bytes/1000") },
				&watched{name: "edge", program: d.edge.Program, metrics: edgeOps}, &watched{name: "culvert", program: c, metrics: connectorOps})
		})
	}
}

// hostileOrigins are the origins that the attacks need.
func hostileOrigins(t *testing.T) *origins {
	t.Helper()
	o := &origins{ws: map[string]string{}, events: make(chan string)}
	o.http = httptest.NewServer(o.mux())
	t.Cleanup(o.http.Close)
	o.echo = echoServer(t)
	return o
}

// honestGet sends a valid request on a new connection, which must succeed.
func honestGet(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	n, err := countBody(resp)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || n != 1000:
		return errors.New(resp.Status)
	}
	return nil
}

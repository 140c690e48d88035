//go:build chaos && linux

package chaos_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/chaos"
)

const (
	lookEvery = 50 * time.Millisecond
	// calm is how long the sessions must have been the same ones before a fault.
	calm = 6 * time.Second
	// visitors send one request after another, each with a pause after it.
	visitors   = 6
	visitEvery = 40 * time.Millisecond
	// visitTime is the patience of a visitor.
	visitTime = 30 * time.Second
)

// run is one run of a scenario.
type run struct {
	*cluster
	began  time.Time
	values map[string]float64
	stop   context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	timeline chaos.Timeline
	looks    int
	failed   []failure
	done     int
}

// failure is a request that failed.
type failure struct {
	at, ended time.Duration
	host      string
	err       error
}

// start starts the cluster, the looks at the edge and the load, and waits until all is calm.
func (r *run) start() {
	r.t.Helper()
	r.startAll()
	ctx, stop := context.WithCancel(r.t.Context())
	r.began, r.stop = time.Now(), stop
	r.tasks.Go(func() { r.watch(ctx) })
	if r.size.later {
		return
	}
	r.settled()
	r.load(ctx)
	r.rest(3*time.Second, 60*time.Second)
}

// settled waits until every slot has had the same session for a while.
func (r *run) settled() {
	r.t.Helper()
	testkit.Retry(r.t, "all slots are served", 2*patience, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.timeline.Now()); n != len(r.slots) {
			return fmt.Errorf("%d of %d slots", n, len(r.slots))
		}
		if d := r.timeline.Unchanged(); d < calm {
			return fmt.Errorf("sessions have been the same ones for %v", d)
		}
		return nil
	})
}

// end stops looks and load, then the cluster.
func (r *run) end() {
	if r.stop != nil {
		r.stop()
		r.tasks.Wait()
	}
	r.cluster.end()
}

// now is the time of the run.
func (r *run) now() time.Duration { return time.Since(r.began) }

// wait lets time pass.
func (r *run) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

// rest lets a time pass that has its whole length on demand only.
func (r *run) rest(short, full time.Duration) { r.wait(pick(short, full)) }

func pick(short, full time.Duration) time.Duration {
	if *runFull {
		return full
	}
	return short
}

// watch looks at the edge's sessions until ctx ends. A look that fails says nothing.
func (r *run) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if conns, err := r.sessions(ctx); err == nil {
			at := r.now()
			r.mu.Lock()
			r.timeline.Saw(at, conns)
			r.looks++
			r.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sessions lists what the edge has: the active sessions.
func (r *run) sessions(ctx context.Context) ([]chaos.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, err := r.edge.Admin.ListConnections(ctx)
	if err != nil {
		return nil, err
	}
	var conns []chaos.Conn
	for _, l := range list {
		if l.State != "active" {
			continue
		}
		worker, _, _ := strings.Cut(l.RemoteAddr, ":")
		conns = append(conns, chaos.Conn{
			ID: l.ID, Slot: chaos.Slot{Tunnel: l.TunnelID.String(), Index: int(l.ConnIndex)}, Connector: l.ConnectorID.String(),
			Worker: worker, Protocol: string(l.Protocol), Address: l.EdgeAddr, Version: l.Version,
		})
	}
	return conns, nil
}

// conns are the sessions of the last look.
func (r *run) conns() []chaos.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.timeline.Now())
}

// held counts the sessions of a part.
func (r *run) held(p *part) int {
	n := 0
	for _, c := range r.conns() {
		if c.Worker == p.edgeAddr() {
			n++
		}
	}
	return n
}

// busiest is the worker with the most sessions.
func (r *run) busiest() *part {
	return slices.MaxFunc(r.of("conn-worker"), func(a, b *part) int { return r.held(a) - r.held(b) })
}

// summary sums up what was seen.
func (r *run) summary(from, to time.Duration) chaos.Summary {
	return r.summaryOf(from, to, func(chaos.Slot) bool { return true })
}

// summaryOf is the summary of some slots.
func (r *run) summaryOf(from, to time.Duration, which func(chaos.Slot) bool) chaos.Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.timeline.Of(which).Summary(from, to, slices.DeleteFunc(slices.Clone(r.slots), func(s chaos.Slot) bool { return !which(s) }))
	r.t.Logf("%v to %v: %+v", from.Round(time.Millisecond), to.Round(time.Millisecond), sum)
	return sum
}

// load sends requests to all tunnels until ctx ends.
func (r *run) load(ctx context.Context) {
	client := &http.Client{Timeout: visitTime, Transport: &http.Transport{MaxIdleConnsPerHost: visitors}}
	for v := range visitors {
		r.tasks.Go(func() {
			for i := v; ctx.Err() == nil; i++ {
				at, host := r.now(), r.hosts[i/visitors%len(r.hosts)]
				err := r.visit(ctx, client, i, host)
				if ctx.Err() != nil {
					return
				}
				r.mu.Lock()
				r.done++
				if err != nil {
					r.failed = append(r.failed, failure{at, r.now(), host, err})
				}
				r.mu.Unlock()
				select {
				case <-time.After(visitEvery):
				case <-ctx.Done():
				}
			}
		})
	}
}

// visit sends one request: most are short, some take a while, some have a body.
func (r *run) visit(ctx context.Context, client *http.Client, i int, host string) error {
	method, query := http.MethodGet, ""
	var body io.Reader
	switch i % 8 {
	case 3:
		method, body = http.MethodPost, strings.NewReader(strings.Repeat("x", 2000))
	case 5:
		query = "?ms=300"
	}
	req, err := http.NewRequestWithContext(ctx, method, r.edge.URL+"/"+query, body)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s%s: %w", method, query, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s%s: %w", method, query, err)
	}
	if string(b) != "fine" || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s of %s: %s", method, query, req.Host, resp.Status)
	}
	return nil
}

// failures counts the requests that failed and were not over then, and logs the first ones.
func (r *run) failures(since time.Duration) float64 { return r.failuresOf(since, "") }

// failuresOf is failures of one host; none is all of them.
func (r *run) failuresOf(since time.Duration, host string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range r.failed {
		if f.ended < since || (host != "" && f.host != host) {
			continue
		}
		if n++; n <= 5 {
			r.t.Logf("failed, from %v to %v: %v", f.at.Round(time.Millisecond), f.ended.Round(time.Millisecond), f.err)
		}
	}
	r.t.Logf("%d requests, %d failed; %d looks in %v", r.done, n, r.looks, r.now().Round(time.Second))
	return float64(n)
}

// set notes a measure.
func (r *run) set(measure string, v float64) { r.values[measure] = v }

// until waits for a condition, at most d, and returns how long it took.
func (r *run) until(d time.Duration, cond func() bool) (took time.Duration, ok bool) {
	began := time.Now()
	for !cond() {
		if time.Since(began) > d || r.t.Context().Err() != nil {
			return time.Since(began), false
		}
		r.wait(lookEvery)
	}
	return time.Since(began), true
}

// served says whether every slot has a session.
func (r *run) served() bool {
	have := map[chaos.Slot]bool{}
	for _, c := range r.conns() {
		have[c.Slot] = true
	}
	return len(have) == len(r.slots)
}

// sumSamples adds up the samples of a metric in the text format.
func sumSamples(in io.Reader, name, text string) (float64, error) {
	sum, found := 0.0, false
	sc := bufio.NewScanner(in)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || (rest != "" && rest[0] != ' ' && rest[0] != '{') || !strings.Contains(rest, text) {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found && text == "" {
		return 0, errors.New("no metric " + name)
	}
	return sum, sc.Err()
}

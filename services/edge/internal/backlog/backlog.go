// Package backlog ends answers whose visitors take nothing, before they hold up everybody else.
//
// What a visitor does not read stays in the flow-control window of the connector's connection, which all its streams
// share: once that is full nobody's answer comes any more, however fast others read. A Watch therefore knows the answers
// that wait for their visitors, and how much of the window each may take at most. When those of one connection may take
// half of it, the ones that have waited longest are cut, until they may not; until then a visitor may pause as long as the
// other limits allow.
package backlog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// lookEvery is how often the answers are looked at.
	lookEvery = 250 * time.Millisecond
	// pause is how long a visitor may take nothing before it counts; hurry is the same when three quarters of the window
	// may be taken.
	pause = 2 * time.Second
	hurry = lookEvery
)

// Window is the flow control of a connection, in bytes: of the whole connection, and of one stream at its begin and at
// most.
type Window struct{ Conn, First, Most int64 }

// Watch looks after the answers of all connections. The nil Watch does nothing.
type Watch struct {
	windows func(tunnel.Protocol) Window
	cuts    prometheus.Counter

	mu    sync.Mutex // guards conns
	conns map[*registry.Conn]map[*Answer]struct{}
}

// New makes a watch; windows gives the flow control of a transport.
func New(windows func(tunnel.Protocol) Window, reg prometheus.Registerer) *Watch {
	return &Watch{
		windows: windows, conns: make(map[*registry.Conn]map[*Answer]struct{}),
		cuts: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "answers_cut_total",
			Help: "Answers that were cut because their visitors took nothing while they filled the window of a connection.",
		}),
	}
}

// Answer is one answer on its way to a visitor. Its goroutine calls Waits before, and Took after each write. The nil
// Answer does nothing.
type Answer struct {
	watch *Watch
	conn  *registry.Conn
	cut   func()
	took  atomic.Int64
	// since is when the write began that is under way, in nanoseconds, or 0.
	since atomic.Int64
	done  bool // cut already; of the watching goroutine
}

// Begin adds an answer that comes over conn. cut is called from another goroutine, at most once, and must not wait.
// The caller calls End.
func (w *Watch) Begin(conn *registry.Conn, cut func()) *Answer {
	if w == nil {
		return nil
	}
	a := &Answer{watch: w, conn: conn, cut: cut}
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.conns[conn]
	if of == nil {
		of = make(map[*Answer]struct{})
		w.conns[conn] = of
	}
	of[a] = struct{}{}
	return a
}

// Waits says that a write to the visitor begins.
func (a *Answer) Waits() {
	if a != nil {
		a.since.Store(time.Now().UnixNano())
	}
}

// Took says that the visitor took n bytes.
func (a *Answer) Took(n int) {
	if a != nil {
		a.took.Add(int64(n))
		a.since.Store(0)
	}
}

// End takes the answer off. cut may be under way when it returns.
func (a *Answer) End() {
	if a == nil {
		return
	}
	w := a.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.conns[a.conn]
	if delete(of, a); len(of) == 0 {
		delete(w.conns, a.conn)
	}
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, a := range w.look(now) {
				w.cuts.Inc()
				a.cut()
			}
		}
	}
}

// look gives the answers that are to be cut.
func (w *Watch) look(now time.Time) []*Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	var cut []*Answer
	for conn, of := range w.conns {
		window := w.windows(conn.Protocol)
		if int64(len(of))*window.Most <= window.Conn/2 {
			continue
		}
		var all []claim
		for a := range of {
			if since := a.since.Load(); since > 0 && !a.done {
				all = append(all, claim{a, time.Duration(now.UnixNano() - since), held(window, a.took.Load())})
			}
		}
		for _, c := range choose(window, all) {
			c.of.done = true
			cut = append(cut, c.of)
		}
	}
	return cut
}

// claim is an answer that waits for its visitor, and how much of the window it may take.
type claim struct {
	of     *Answer
	waited time.Duration
	bytes  int64
}

// held is how much a stream may take at most after its reader has taken some: windows double for a reader that keeps up,
// each time a quarter of one was read.
func held(w Window, took int64) int64 { return min(w.Most, w.First+4*took) }

// choose gives the claims to end, those that have waited longest first, so that the others may take half of the window.
func choose(w Window, all []claim) []claim {
	var total int64
	for _, c := range all {
		if c.waited >= hurry {
			total += c.bytes
		}
	}
	least := pause
	if total > w.Conn*3/4 {
		least = hurry
	}
	slices.SortFunc(all, func(a, b claim) int { return cmp.Compare(b.waited, a.waited) })
	n := 0
	for ; n < len(all) && total > w.Conn/2 && all[n].waited >= least; n++ {
		total -= all[n].bytes
	}
	return all[:n]
}

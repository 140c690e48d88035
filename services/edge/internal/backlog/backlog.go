package backlog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog/evict"
)

const (
	// checkInterval is how often the responses are checked.
	checkInterval = 250 * time.Millisecond
	// stallTimeout is how long a visitor may read nothing before its response may be aborted; pressureTimeout is the same when
	// three quarters of the window may be taken.
	stallTimeout    = 2 * time.Second
	pressureTimeout = checkInterval
)

// Conn is a connection of a connector. Its dynamic type must be comparable.
type Conn interface {
	// ReceiveWindow is the receive window of this end.
	ReceiveWindow() evict.Window
}

// Watch tracks the responses of all connections. The nil Watch does nothing.
type Watch struct {
	aborted prometheus.Counter

	mu    sync.Mutex // guards conns
	conns map[Conn]map[*Response]struct{}
}

// New makes a watch.
func New(reg prometheus.Registerer) *Watch {
	return &Watch{
		conns: make(map[Conn]map[*Response]struct{}),
		aborted: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Namespace: "culvert", Subsystem: "edge", Name: "responses_aborted_total",
			Help: "Responses that were aborted because their visitors read nothing while they filled the window of a connection.",
		}),
	}
}

// Response is one response on its way to a visitor. Its goroutine calls WriteStarted before and WriteDone after each write.
// The nil Response does nothing.
type Response struct {
	watch *Watch
	conn  Conn
	abort func()
	read  atomic.Int64 // by the visitor, in bytes
	// since is when the write began that is under way, in nanoseconds, or 0.
	since   atomic.Int64
	aborted bool // belongs to the goroutine of Run
}

// Begin adds a response that comes over conn. abort is called from another goroutine, at most once, and must not wait. The
// caller calls End.
func (w *Watch) Begin(conn Conn, abort func()) *Response {
	if w == nil {
		return nil
	}
	r := &Response{watch: w, conn: conn, abort: abort}
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.conns[conn]
	if of == nil {
		of = make(map[*Response]struct{})
		w.conns[conn] = of
	}
	of[r] = struct{}{}
	return r
}

// WriteStarted notes that a write to the visitor begins.
func (r *Response) WriteStarted() {
	if r != nil {
		r.since.Store(time.Now().UnixNano())
	}
}

// WriteDone notes that the visitor has read n more bytes.
func (r *Response) WriteDone(n int) {
	if r != nil {
		r.read.Add(int64(n))
		r.since.Store(0)
	}
}

// End removes the response. A call of abort may still be under way when it returns.
func (r *Response) End() {
	if r == nil {
		return
	}
	w := r.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.conns[r.conn]
	if delete(of, r); len(of) == 0 {
		delete(w.conns, r.conn)
	}
}

// Run checks the responses until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, r := range w.overdue(now) {
				w.aborted.Inc()
				r.abort()
			}
		}
	}
}

// overdue returns the responses to abort.
func (w *Watch) overdue(now time.Time) []*Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	timeouts := evict.Timeouts{Stall: stallTimeout, Pressure: pressureTimeout}
	var out []*Response
	for conn, of := range w.conns {
		window := conn.ReceiveWindow()
		if !evict.MayExceed(window, len(of)) {
			continue
		}
		var claims []evict.Claim[*Response]
		for r := range of {
			if since := r.since.Load(); since > 0 && !r.aborted {
				claims = append(claims, evict.Claim[*Response]{
					Key: r, Waited: time.Duration(now.UnixNano() - since), Bytes: evict.Held(window, r.read.Load()),
				})
			}
		}
		for _, c := range evict.Choose(window, timeouts, claims) {
			c.Key.aborted = true
			out = append(out, c.Key)
		}
	}
	return out
}

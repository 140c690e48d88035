package duplex

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/flexbuf"
)

// End is one end of a two-way byte stream. One goroutine reads while another writes.
type End interface {
	// Read gives io.EOF itself for an orderly end; anything else is a failure.
	io.Reader
	io.Writer
	// CloseWrite passes an orderly end on.
	CloseWrite() error
	// Abort ends both directions as a failure, and makes pending calls fail. It may come at any time, more than once.
	Abort()
}

// Side names an end.
type Side uint8

// The two ends.
const (
	Edge Side = iota
	Origin
)

// String names the side in logs.
func (s Side) String() string {
	if s == Edge {
		return "edge"
	}
	return "origin"
}

// Cause is the reason why a stream ended.
type Cause uint8

// The causes.
const (
	// Ended: both directions came to their ends.
	Ended Cause = iota
	// Cancelled: the edge no longer wants the stream, or the worker is lost.
	Cancelled
	// EdgeFailed: the bytes of the edge ended without FIN, or are malformed.
	EdgeFailed
	// OriginFailed: the origin reset the connection.
	OriginFailed
	// Idle: one direction had ended, and the other was silent for too long.
	Idle
	// RuleTime: a timeout of the rule was over.
	RuleTime
	// Causes is their number.
	Causes
)

// String names the cause in logs and metrics.
func (c Cause) String() string {
	switch c {
	case Ended:
		return "ended"
	case Cancelled:
		return "cancelled"
	case EdgeFailed:
		return "edge_failed"
	case OriginFailed:
		return "origin_failed"
	case Idle:
		return "half_close_idle"
	case RuleTime:
		return "rule_timeout"
	case Causes:
	}
	return "unknown"
}

// errIdle is the error of Idle.
var errIdle = errors.New("silent for too long after one direction had ended")

// Summary is the result of a stream.
type Summary struct {
	Cause Cause
	// First is the side whose end or failure came first.
	First Side
	// Err is nil with Ended.
	Err error
	// ToOrigin and ToEdge count the bytes passed on.
	ToOrigin, ToEdge int64
}

// Copier runs streams.
type Copier struct {
	// HalfCloseIdle bounds the silence of a direction after the other one has ended; 0 is no limit.
	HalfCloseIdle time.Duration
	// Count, when not nil, is called with the number of bytes after each write to a side.
	Count func(to Side, n int)

	buffers flexbuf.Pool
}

// Run copies until both directions have ended, or the stream has failed or ctx is over; then both ends have been aborted.
func (c *Copier) Run(ctx context.Context, edge, origin End) Summary {
	r := &run{c: c, edge: edge, origin: origin}
	r.late.Add(1)
	stopWatch := context.AfterFunc(ctx, func() {
		defer r.late.Done()
		r.fail(Edge, Cancelled, context.Cause(ctx))
	})
	var other sync.WaitGroup
	other.Go(func() { r.copy(Origin, origin, edge, &r.sum.ToEdge) })
	r.copy(Edge, edge, origin, &r.sum.ToOrigin)
	other.Wait()
	if stopWatch() {
		r.late.Done()
	}
	r.stopIdle()
	r.late.Wait() // neither end is touched once Run has returned
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum
}

// run is one stream.
type run struct {
	c            *Copier
	edge, origin End
	half         atomic.Bool    // one direction has ended, so idle runs
	late         sync.WaitGroup // waits for the functions that timers and contexts have started

	mu    sync.Mutex // guards the rest, without the counters of sum, each of which belongs to one copy
	begun bool       // First is known
	over  bool       // the stream failed
	idle  *time.Timer
	sum   Summary
}

// copy runs one direction.
func (r *run) copy(from Side, src, dst End, count *int64) {
	to := Origin - from
	buf := r.c.buffers.Buffer()
	defer buf.Free()
	for {
		b := buf.Next()
		n, err := src.Read(b)
		buf.Took(n)
		if n > 0 {
			if werr := r.pass(to, dst, b[:n], count); werr != nil {
				r.refused(to, werr)
				return
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // only the bare value is an orderly end
			r.ended(from) // before the end is passed on, after which the other direction may end as well
			if err := dst.CloseWrite(); err != nil {
				r.refused(to, err)
			}
			return
		case err != nil:
			r.fail(from, failureOf(from), err)
			return
		}
	}
}

// pass writes a piece on.
func (r *run) pass(to Side, dst End, p []byte, count *int64) error {
	r.touch()
	n, err := dst.Write(p)
	*count += int64(n)
	if r.c.Count != nil {
		r.c.Count(to, n)
	}
	return err
}

func failureOf(s Side) Cause {
	if s == Edge {
		return EdgeFailed
	}
	return OriginFailed
}

// refused ends a direction because its reader is gone. An origin that reads no more may still send its response, so the other
// direction goes on; an edge that accepts no more bytes ends the stream.
func (r *run) refused(by Side, err error) {
	switch {
	case by == Edge:
		r.fail(Edge, Cancelled, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.fail(Origin, OriginFailed, err)
	default:
		r.ended(Origin)
	}
}

// ended is the end of a direction in order.
func (r *run) ended(by Side) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return
	}
	r.begun, r.sum.First = true, by
	if r.c.HalfCloseIdle > 0 {
		r.late.Add(1)
		r.idle = time.AfterFunc(r.c.HalfCloseIdle, func() {
			defer r.late.Done()
			r.fail(by, Idle, errIdle)
		})
		r.half.Store(true)
	}
}

// touch begins the idle time anew.
func (r *run) touch() {
	if !r.half.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle.Stop() { // else it has fired
		r.idle.Reset(r.c.HalfCloseIdle)
	}
}

func (r *run) stopIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idle != nil && r.idle.Stop() {
		r.late.Done()
	}
}

// fail ends the stream. Only the first call counts.
func (r *run) fail(by Side, cause Cause, err error) {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return
	}
	r.over = true
	if !r.begun {
		r.begun, r.sum.First = true, by
	}
	r.sum.Cause, r.sum.Err = cause, err
	r.mu.Unlock()
	r.origin.Abort()
	r.edge.Abort()
}

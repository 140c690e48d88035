package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

const (
	// idleRunners is how many goroutines of a session wait for streams.
	idleRunners = 64
	// trimEvery is how often the runners end that were idle since the last time.
	trimEvery = 5 * time.Second
)

// runners are the goroutines of one session that serve its streams. They stay for the next stream: a fresh goroutine has
// to grow its stack by several copies on its way into an origin's client, which is up to a tenth of the time that a small
// request takes. The garbage collector shrinks the stacks of runners that wait for long.
type runners struct {
	mu     sync.Mutex
	idle   []*runner // the last one ran most recently and is taken first
	spare  int       // the least number of idle ones since the last trim
	closed bool
}

// runner is one goroutine that serves streams.
type runner struct {
	next  chan transport.Stream
	guard guard
}

// take removes an idle runner, or gives nil.
func (rs *runners) take() *runner {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.idle) == 0 {
		return nil
	}
	last := len(rs.idle) - 1
	r := rs.idle[last]
	rs.idle[last] = nil
	rs.idle = rs.idle[:last]
	rs.spare = min(rs.spare, last)
	return r
}

// park adds an idle runner, or tells it to end.
func (rs *runners) park(r *runner) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed || len(rs.idle) == idleRunners {
		return false
	}
	rs.idle = append(rs.idle, r)
	return true
}

// trim ends the runners that were idle all the time since the last trim.
func (rs *runners) trim() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.idle[:rs.spare] {
		close(r.next)
	}
	rs.idle = slices.Delete(rs.idle, 0, rs.spare)
	rs.spare = len(rs.idle)
}

// trimLoop trims until ctx ends.
func (rs *runners) trimLoop(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			rs.trim()
		}
	}
}

// close ends the idle runners now and the others after their stream. No stream may be started afterwards.
func (rs *runners) close() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.closed = true
	for _, r := range rs.idle {
		close(r.next)
	}
	rs.idle, rs.spare = nil, 0
}

// start serves st on an idle runner or on a new one.
func (s *Session) start(ctx context.Context, st transport.Stream) {
	if r := s.runners.take(); r != nil {
		r.next <- st
		return
	}
	r := &runner{next: make(chan transport.Stream, 1)}
	s.flows.Go(func() {
		for more := true; more; st, more = <-r.next {
			s.serve(ctx, r, st)
			stays := s.runners.park(r)
			s.leave() // after park, so that there are never more runners than allowed streams
			if !stays {
				return
			}
		}
	})
}

// guard ends the reads of streams that say nothing in time. It is one timer for all streams of a runner.
type guard struct {
	timer *time.Timer

	mu  sync.Mutex
	st  transport.Stream
	due time.Time
}

// begin starts the time limit d for the first bytes of st.
func (g *guard) begin(st transport.Stream, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.st, g.due = st, time.Now().Add(d)
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.expire)
		return
	}
	g.timer.Reset(d)
}

// end cancels the time limit.
func (g *guard) end() {
	g.timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.st = nil
}

// expire may run late, when the runner has gone on to another stream: what counts is the time in begin.
func (g *guard) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.st != nil && !time.Now().Before(g.due) {
		g.st.CancelRead(transport.NoError)
	}
}

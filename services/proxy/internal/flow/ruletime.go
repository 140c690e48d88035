package flow

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// errOverdue is what a write to the edge gets after a timeout of the rule is over.
var errOverdue = errors.New("a timeout of the rule is over")

// isRuleTime reports whether an error is the end of a timeout of the rule.
func isRuleTime(err error) bool { return errors.Is(err, errRuleTime) || errors.Is(err, errRuleIdle) }

// ruleClock ends an exchange when a timeout of its rule is over: by its context, and by an abort of a write that waits for the edge. It is
// the edge's side of the exchange, since bytes in either direction begin the idle time anew.
type ruleClock struct {
	link.Stream
	cancel context.CancelCauseFunc
	idle   time.Duration
	began  time.Time

	moved   atomic.Int64 // when the last bytes passed, since began
	over    atomic.Bool
	writing atomic.Bool
	// carried says that the exchange has become a byte stream, whose bytes are counted at the origin's connection: the edge's side has pings
	// of our own.
	carried atomic.Bool

	mu    sync.Mutex // held while an exchange is ended, so that nothing touches the stream after stop; guards the rest
	done  bool
	whole *time.Timer // nil without such a timeout
	quiet *time.Timer // nil without such a timeout
	cause error       // of an exchange that the clock has ended
}

// startClock begins the timeouts of a rule; zero is none. The caller calls stop before the flow is over.
func startClock(ctx context.Context, s link.Stream, whole, idle time.Duration) (*ruleClock, context.Context) {
	c := &ruleClock{Stream: s, idle: idle, began: time.Now()}
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if whole > 0 {
		c.whole = time.AfterFunc(whole, func() { c.end(errRuleTime) })
	}
	if idle > 0 {
		c.quiet = time.AfterFunc(idle, c.look)
	}
	return c, ctx
}

// look ends an exchange that was idle for long enough, or looks again when it could be.
func (c *ruleClock) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	if left := c.idle - (time.Since(c.began) - time.Duration(c.moved.Load())); left > 0 {
		c.quiet.Reset(left)
		return
	}
	c.endLocked(errRuleIdle)
}

func (c *ruleClock) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.done {
		c.endLocked(cause)
	}
}

func (c *ruleClock) endLocked(cause error) {
	c.done, c.cause = true, cause
	c.over.Store(true)
	c.cancel(cause)
	if c.writing.Load() {
		c.Abort() // the context does not reach a write
	}
}

// stop ends the timeouts and gives the one that has ended the exchange, if one has.
func (c *ruleClock) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	for _, t := range []*time.Timer{c.whole, c.quiet} {
		if t != nil {
			t.Stop()
		}
	}
	c.cancel(nil)
	return c.cause
}

// begunStream is switched for a byte stream that is copied from and to an origin.
func (c *ruleClock) begunStream() {
	if c == nil {
		return
	}
	c.carried.Store(true)
	c.switched()
}

// switched says that the exchange has left HTTP, and may last for as long as it is not idle. It does nothing without a clock.
func (c *ruleClock) switched() {
	if c == nil {
		return
	}
	c.touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole != nil {
		c.whole.Stop()
	}
}

// toucher is what begins the idle time of a byte stream anew, or nil.
func (c *ruleClock) toucher() func() {
	if c == nil || c.idle == 0 {
		return nil
	}
	return c.touch
}

func (c *ruleClock) touch() { c.moved.Store(int64(time.Since(c.began))) }

// Read gives the edge's bytes.
func (c *ruleClock) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if n > 0 && !c.carried.Load() {
		c.touch()
	}
	return n, err
}

// Write sends p. It does not begin after the end of the exchange.
func (c *ruleClock) Write(p []byte) (int, error) {
	c.writing.Store(true)
	defer c.writing.Store(false)
	if c.over.Load() {
		return 0, errOverdue
	}
	n, err := c.Stream.Write(p)
	if n > 0 && !c.carried.Load() {
		c.touch()
	}
	return n, err
}

// Buffer keeps p for the next write.
func (c *ruleClock) Buffer(p []byte) error {
	c.touch()
	return c.Stream.Buffer(p)
}

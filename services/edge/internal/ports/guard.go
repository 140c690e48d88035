package ports

import (
	"sync"
	"sync/atomic"
	"time"
)

// guard calls a function when nothing has happened for a time. Touching it costs a clock reading: the timer is moved only
// when it fires.
type guard struct {
	last atomic.Int64 // when something happened, in nanoseconds

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	limit   time.Duration
	expired func()
	stopped bool
}

// touch says that something happened.
func (g *guard) touch() { g.last.Store(time.Now().UnixNano()) }

// set counts from now; 0 is no limit. The function runs in a goroutine of its own.
func (g *guard) set(limit time.Duration, expired func()) {
	g.touch()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.limit, g.expired = limit, expired
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if limit > 0 {
		g.timer = time.AfterFunc(limit, g.fire)
	}
}

// fire looks whether the time is really over.
func (g *guard) fire() {
	g.mu.Lock()
	if g.stopped || g.timer == nil {
		g.mu.Unlock()
		return
	}
	left := g.limit - time.Duration(time.Now().UnixNano()-g.last.Load())
	if left > 0 {
		g.timer.Reset(left)
		g.mu.Unlock()
		return
	}
	g.timer = nil
	expired := g.expired
	g.mu.Unlock()
	expired()
}

// stop ends the guard.
func (g *guard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

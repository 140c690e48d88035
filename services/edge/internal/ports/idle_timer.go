package ports

import (
	"sync"
	"sync/atomic"
	"time"
)

// idleTimer calls a function after a time without activity. A call of touch costs one reading of the clock: the timer is moved only
// when it fires.
type idleTimer struct {
	last atomic.Int64 // the time of the last activity, in nanoseconds

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	timeout time.Duration
	expired func()
	stopped bool
}

// touch records activity.
func (g *idleTimer) touch() { g.last.Store(time.Now().UnixNano()) }

// set makes expired run, in a goroutine of its own, once there was no activity for timeout, which starts now; 0 is no limit.
func (g *idleTimer) set(timeout time.Duration, expired func()) {
	g.touch()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return
	}
	g.timeout, g.expired = timeout, expired
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if timeout > 0 {
		g.timer = time.AfterFunc(timeout, g.fire)
	}
}

// fire calls expired, or sets the timer again if there was activity.
func (g *idleTimer) fire() {
	g.mu.Lock()
	if g.stopped || g.timer == nil {
		g.mu.Unlock()
		return
	}
	left := g.timeout - time.Duration(time.Now().UnixNano()-g.last.Load())
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

// stop ends the timer.
func (g *idleTimer) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

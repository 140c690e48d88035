package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Hinter wakes the processes that watch a topic.
type Hinter interface {
	Hint(ctx context.Context, topic string) error
}

// Plane tracks whether the store is available.
type Plane struct {
	hinter Hinter
	log    *slog.Logger
	setUp  func(up bool) // receives every observation

	mu    sync.Mutex
	reach keep.Reach // guarded by mu
}

// NewPlane makes a Plane that regards the store as available until a call fails. setUp receives the result of every call.
func NewPlane(h Hinter, log *slog.Logger, setUp func(up bool)) *Plane {
	return &Plane{hinter: h, log: log, setUp: setUp}
}

// Up reports whether the store counts as available.
func (p *Plane) Up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reach.Up()
}

// Responds reports whether the last call reached the store.
func (p *Plane) Responds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reach.Responds()
}

// Observe records the result of a call to the store, and logs each change of its availability once.
func (p *Plane) Observe(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	changed := p.reach.Observe(time.Now(), err)
	up := p.reach.Up()
	p.mu.Unlock()
	switch {
	case up && changed:
		p.log.InfoContext(ctx, "control plane is available again")
	case changed:
		p.log.WarnContext(ctx, "control plane is unavailable, connections stay", slog.Any(logkey.Err, err))
	}
	p.setUp(up)
}

// Hint wakes the processes that watch the topic. Without it they see the change at their next tick.
func (p *Plane) Hint(ctx context.Context, topic string) {
	if err := p.hinter.Hint(ctx, topic); err != nil && ctx.Err() == nil {
		p.log.DebugContext(ctx, "hint dropped", slog.String(logkey.Topic, topic), slog.Any(logkey.Err, err))
	}
}

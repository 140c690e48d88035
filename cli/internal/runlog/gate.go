package runlog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// gate keeps records back while it is shut, and passes them on in their order when it opens. It exists because one of the first lines
// has the checksum of the program, and the way to the first connection must not wait for it.
type gate struct {
	isShut atomic.Bool

	mu   sync.Mutex
	kept []func() // guarded by mu; what to do when the gate opens
}

// handler is inner behind the gate.
func (g *gate) handler(inner slog.Handler) slog.Handler { return gated{gate: g, inner: inner} }

// shut keeps back all records from now on.
func (g *gate) shut() { g.isShut.Store(true) }

// open passes on what was kept back, and everything from now on.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, pass := range g.kept {
		pass()
	}
	g.kept = nil
	g.isShut.Store(false)
}

// pass runs write now, or when the gate opens; its error is lost then, because the caller has gone on.
func (g *gate) pass(write func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isShut.Load() {
		return write()
	}
	g.kept = append(g.kept, func() { _ = write() })
	return nil
}

// gated is a handler behind a gate.
type gated struct {
	gate  *gate
	inner slog.Handler
}

func (h gated) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

func (h gated) Handle(ctx context.Context, r slog.Record) error {
	if !h.gate.isShut.Load() {
		return h.inner.Handle(ctx, r)
	}
	r = r.Clone()
	return h.gate.pass(func() error { return h.inner.Handle(context.WithoutCancel(ctx), r) })
}

func (h gated) WithAttrs(attrs []slog.Attr) slog.Handler {
	return gated{gate: h.gate, inner: h.inner.WithAttrs(attrs)}
}

func (h gated) WithGroup(name string) slog.Handler {
	return gated{gate: h.gate, inner: h.inner.WithGroup(name)}
}

// dated is a handler that gives every record the same time.
type dated struct {
	slog.Handler

	at time.Time
}

func (h dated) Handle(ctx context.Context, r slog.Record) error {
	r.Time = h.at
	return h.Handler.Handle(ctx, r)
}

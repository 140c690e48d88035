package runlog

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gate keeps lines back while it is shut, and writes them in their order when it opens. It exists because one of the first lines has
// the checksum of the program, and the way to the first connection must not wait for it. It holds lines and not records, because what
// a record refers to may change after the call that logs it.
type gate struct {
	isShut atomic.Bool

	mu   sync.Mutex
	kept []keptLine // guarded by mu
}

// keptLine is a line that waits for the gate, and where it goes.
type keptLine struct {
	to   io.Writer
	line []byte
}

// writer is inner behind the gate.
func (g *gate) writer(inner io.Writer) io.Writer { return gated{gate: g, inner: inner} }

// shut keeps back all lines from now on.
func (g *gate) shut() { g.isShut.Store(true) }

// open writes what was kept back, and everything from now on at once.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range g.kept {
		_, _ = k.to.Write(k.line) // whoever logged it has gone on
	}
	g.kept = nil
	g.isShut.Store(false)
}

// gated is a writer behind a gate.
type gated struct {
	gate  *gate
	inner io.Writer
}

// Write writes a line, or keeps a copy of it until the gate opens.
func (w gated) Write(line []byte) (int, error) {
	if !w.gate.isShut.Load() {
		return w.inner.Write(line)
	}
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	if !w.gate.isShut.Load() {
		return w.inner.Write(line)
	}
	w.gate.kept = append(w.gate.kept, keptLine{to: w.inner, line: slices.Clone(line)})
	return len(line), nil
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

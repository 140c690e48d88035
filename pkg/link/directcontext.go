package link

import (
	"context"
	"sync"
	"time"
)

// directContext ends with the caller's context or with the edge stream's. Most flows end before anything waits for it, so the
// first Done creates what waiting needs.
type directContext struct {
	parent context.Context //nolint:containedctx // this is a context
	edge   EdgeStream

	// mu guards the rest.
	mu       sync.Mutex
	inner    context.Context //nolint:containedctx // this is a context
	cancel   context.CancelCauseFunc
	stopEdge func() bool
	over     bool
	fin      bool  // the edge stream's own context no longer matters: we end it ourselves
	gone     error // why the edge stream's context ended before that
}

var _ context.Context = (*directContext)(nil)

func (c *directContext) init(parent context.Context, edge EdgeStream) {
	c.parent, c.edge = parent, edge
}

// Deadline is the caller's.
func (c *directContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Value is the caller's.
func (c *directContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key) // the library finds what can be cancelled by asking for it
	}
	return c.parent.Value(key)
}

// Done creates the inner context.
func (c *directContext) Done() <-chan struct{} { return c.wait().Done() }

// Err is nil while the flow runs.
func (c *directContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner.Err()
	}
	if err := c.parent.Err(); err != nil || c.fin {
		return err
	}
	return c.edge.Context().Err()
}

// AfterFunc lets the standard library derive contexts without a goroutine.
func (c *directContext) AfterFunc(f func()) func() bool { return context.AfterFunc(c.wait(), f) }

func (c *directContext) wait() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner
	}
	var cancel context.CancelCauseFunc
	c.inner, cancel = context.WithCancelCause(c.parent)
	c.cancel = cancel
	switch {
	case c.over:
		cancel(errOver)
	case !c.fin:
		ec := c.edge.Context()
		c.stopEdge = context.AfterFunc(ec, func() { cancel(context.Cause(ec)) })
	}
	return c.inner
}

// beforeEnd must be called before FIN or a reset, which end the edge stream's own context. It reports whether it was called
// before.
func (c *directContext) beforeEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fin {
		return true
	}
	c.fin = true
	if c.edge.Context().Err() != nil {
		c.gone = context.Cause(c.edge.Context())
	}
	if c.stopEdge != nil {
		c.stopEdge()
		c.stopEdge = nil
	}
	return false
}

// stop ends the context after the handler. It returns the cause if the context ended before.
func (c *directContext) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.stopEdge != nil {
		c.stopEdge()
	}
	if c.inner == nil {
		if c.gone != nil {
			return c.gone
		}
		if c.parent.Err() != nil {
			return context.Cause(c.parent)
		}
		if !c.fin && c.edge.Context().Err() != nil {
			return context.Cause(c.edge.Context())
		}
		return nil
	}
	cause := c.gone
	if c.inner.Err() != nil {
		cause = context.Cause(c.inner)
	}
	c.cancel(errOver)
	return cause
}

package keeper

import (
	"context"
	"slices"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// marks tells the supervisors which tunnels changed, for all keepers of a worker: tunnels that change while a call is on its way share the
// next one. When an edge is lost, slots of many tunnels change at once.
type marks struct {
	store Store
	// due is written to when there is something to send.
	due chan struct{}

	mu   sync.Mutex
	next *batch // guarded by mu
}

// batch is the tunnels of one call. err is set before done is closed.
type batch struct {
	tunnels []tunnel.ID
	done    chan struct{}
	err     error
}

func newMarks(s Store) *marks { return &marks{store: s, due: make(chan struct{}, 1)} }

// mark marks a tunnel, and waits for it.
func (m *marks) mark(ctx context.Context, id tunnel.ID) error {
	m.mu.Lock()
	if m.next == nil {
		m.next = &batch{done: make(chan struct{})}
	}
	b := m.next
	if !slices.Contains(b.tunnels, id) {
		b.tunnels = append(b.tunnels, id)
	}
	m.mu.Unlock()
	select {
	case m.due <- struct{}{}:
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run sends the marks until ctx ends.
func (m *marks) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.due:
		}
		m.mu.Lock()
		b := m.next
		m.next = nil
		m.mu.Unlock()
		if b == nil {
			continue // it went with the call before
		}
		b.err = m.store.Mark(ctx, b.tunnels...)
		close(b.done)
	}
}

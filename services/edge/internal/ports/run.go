package ports

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

// change is a function for the goroutine of Run: ctx is the context of Run, and start serves an entry.
type change func(ctx context.Context, start func(*entry))

// call is a change; done is closed after it.
type call struct {
	do   change
	done chan struct{}
}

// Run serves until ctx ends, then gives visitors the drain timeout to finish.
func (s *Set) Run(ctx context.Context) error {
	carry, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var serving sync.WaitGroup
	start := func(e *entry) {
		if e.listener == nil {
			return
		}
		accept, stop := context.WithCancel(ctx)
		e.stop = stop
		l := e.listener
		serving.Go(func() { l.Serve(accept, carry) })
	}
	for _, e := range s.entries {
		start(e)
	}
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	for {
		select {
		case c := <-s.calls:
			c.do(ctx, start)
			close(c.done)
		case <-retry.C:
			s.retry(ctx, start)
		case <-ctx.Done():
			close(s.draining)
			s.drain(&serving, cut)
			return nil
		}
	}
}

// drain waits for the visitors' connections to end, and cuts them off after the drain timeout.
func (s *Set) drain(serving *sync.WaitGroup, cut context.CancelFunc) {
	ended := make(chan struct{})
	go func() {
		serving.Wait()
		close(ended)
	}()
	limit := time.NewTimer(s.cfg.DrainTimeout)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		cut()
		<-ended
	}
}

// retry tries to open the ports that are not open.
func (s *Set) retry(ctx context.Context, start func(*entry)) {
	for _, e := range s.entries {
		if e.listener == nil {
			s.bindEntry(ctx, e)
			start(e)
		}
	}
	s.count()
}

// do runs f in the goroutine of Run, and waits for it.
func (s *Set) do(ctx context.Context, f change) error {
	c := call{f, make(chan struct{})}
	select {
	case s.calls <- c:
		<-c.done
		return nil
	case <-s.draining:
		return fmt.Errorf("public ports: %w", tunnel.ErrDraining)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Add opens a port and stores it in the catalog. For a port that is stored already it changes nothing, except that it tries
// to open it again if that had failed.
func (s *Set) Add(ctx context.Context, p route.Port, id tunnel.ID) (catalog.PortState, error) {
	var out catalog.PortState
	var err error
	if derr := s.do(ctx, func(ctx context.Context, start func(*entry)) { out, err = s.add(ctx, start, p, id) }); derr != nil {
		return out, derr
	}
	return out, err
}

func (s *Set) add(ctx context.Context, start func(*entry), p route.Port, id tunnel.ID) (catalog.PortState, error) {
	known, err := s.deps.Store.CheckPort(p, id)
	if err != nil {
		return catalog.PortState{}, err
	}
	if e := s.entries[p.Name()]; known && e != nil {
		if e.listener == nil {
			s.bindEntry(ctx, e)
			start(e)
			s.count()
		}
		return e.state(), e.err
	}
	l, err := s.bind(ctx, catalog.Port{Port: p, Tunnel: id})
	if err != nil {
		return catalog.PortState{}, err
	}
	p.Number = l.Addr().Port()
	added, err := s.deps.Store.AddPort(p, id, time.Now())
	if err != nil {
		_ = l.Close() // nothing uses it yet
		return catalog.PortState{}, err
	}
	e := &entry{port: added, listener: l}
	s.mu.Lock()
	s.entries[added.Name()] = e
	s.mu.Unlock()
	start(e)
	s.count()
	s.deps.Logger.InfoContext(ctx, "public port open", attrs(e)...)
	return e.state(), nil
}

// Delete closes a port and removes it from the catalog. Its TCP connections go on until they end.
func (s *Set) Delete(ctx context.Context, p route.Port) error {
	var err error
	if derr := s.do(ctx, func(context.Context, func(*entry)) {
		if err = s.deps.Store.DeletePort(p); err == nil {
			s.sync()
		}
	}); derr != nil {
		return derr
	}
	return err
}

// Sync closes the ports that are no longer in the catalog, for example after their tunnel was deleted.
func (s *Set) Sync(ctx context.Context) error {
	return s.do(ctx, func(context.Context, func(*entry)) { s.sync() })
}

func (s *Set) sync() {
	kept := make(map[string]bool)
	for _, p := range s.deps.Store.Ports() {
		kept[p.Name()] = true
	}
	for name, e := range s.entries {
		if kept[name] {
			continue
		}
		if e.listener != nil {
			e.stop()
			_ = e.listener.Close() // the port must be free when the operator gets the response
		}
		s.mu.Lock()
		delete(s.entries, name)
		s.mu.Unlock()
	}
	s.count()
}

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

// call is a change that the goroutine of Run makes.
type call struct {
	do   func(r *running)
	done chan struct{}
}

// running is what serves while Run runs.
type running struct {
	accept, carry context.Context //nolint:containedctx // the two ends of every listener's life, which only Run's goroutine reads
	serving       sync.WaitGroup
}

// Run serves until ctx ends, then lets visitors finish for a while.
func (s *Set) Run(ctx context.Context) error {
	carry, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	r := &running{accept: ctx, carry: carry}
	for _, e := range s.entries {
		s.serve(r, e)
	}
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case c := <-s.calls:
			c.do(r)
			close(c.done)
		case <-retry.C:
			s.retry(r)
		case <-ctx.Done():
			close(s.draining)
			s.drain(r, cut)
			return nil
		}
	}
}

// drain waits for the visitors, who take no new ones any more, and cuts them off in the end.
func (s *Set) drain(r *running, cut context.CancelFunc) {
	ended := make(chan struct{})
	go func() {
		r.serving.Wait()
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

// serve starts the listener of an entry.
func (s *Set) serve(r *running, e *entry) {
	if e.listener == nil {
		return
	}
	accept, stop := context.WithCancel(r.accept)
	e.stop = stop
	l, carry := e.listener, r.carry
	r.serving.Go(func() { l.Serve(accept, carry) })
}

// retry opens what could not be opened.
func (s *Set) retry(r *running) {
	for _, e := range s.entries {
		if e.listener == nil {
			s.bindEntry(r.accept, e)
			s.serve(r, e)
		}
	}
	s.count()
}

// do runs f in the goroutine of Run and waits for it.
func (s *Set) do(ctx context.Context, f func(r *running)) error {
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

// Add opens a port and keeps it. The same port again changes nothing, but tries to open it if it could not be opened.
func (s *Set) Add(ctx context.Context, p route.Port, id tunnel.ID) (State, error) {
	var out State
	var err error
	if derr := s.do(ctx, func(r *running) { out, err = s.add(r, p, id) }); derr != nil {
		return out, derr
	}
	return out, err
}

func (s *Set) add(r *running, p route.Port, id tunnel.ID) (State, error) {
	known, err := s.deps.Store.CheckPort(p, id)
	if err != nil {
		return State{}, err
	}
	if e := s.entries[p.Name()]; known && e != nil {
		if e.listener == nil {
			s.bindEntry(r.accept, e)
			s.serve(r, e)
			s.count()
		}
		return e.state(), e.err
	}
	l, err := s.bind(catalog.Port{Port: p, Tunnel: id})
	if err != nil {
		return State{}, err
	}
	p.Number = l.Addr().Port()
	added, err := s.deps.Store.AddPort(p, id, time.Now())
	if err != nil {
		_ = l.Close() // nobody uses it yet
		return State{}, err
	}
	e := &entry{port: added, listener: l}
	s.mu.Lock()
	s.entries[added.Name()] = e
	s.mu.Unlock()
	s.serve(r, e)
	s.count()
	s.deps.Logger.InfoContext(r.accept, "public port open", attrs(e)...)
	return e.state(), nil
}

// Delete closes a port and forgets it. Its TCP visitors go on until they end.
func (s *Set) Delete(ctx context.Context, p route.Port) error {
	var err error
	if derr := s.do(ctx, func(*running) {
		if err = s.deps.Store.DeletePort(p); err == nil {
			s.sync()
		}
	}); derr != nil {
		return derr
	}
	return err
}

// Sync closes the ports that the catalog holds no longer, which is what a tunnel's end leaves.
func (s *Set) Sync(ctx context.Context) error {
	return s.do(ctx, func(*running) { s.sync() })
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
			_ = e.listener.Close() // the port must be free when the operator is told so
		}
		s.mu.Lock()
		delete(s.entries, name)
		s.mu.Unlock()
	}
	s.count()
}

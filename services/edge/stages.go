package edge

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// runAll runs functions side by side; the first that fails stops the others.
func runAll(ctx context.Context, runs []func(context.Context) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		g.Go(func() error { return run(gctx) })
	}
	return g.Wait()
}

// runStages runs functions side by side until ctx ends or one of them returns; then it calls stopping and cancels them
// in order, each when the one before it has returned.
func runStages(ctx context.Context, stages []func(context.Context) error, stopping func()) error {
	type stage struct {
		cancel context.CancelFunc
		ended  chan error
	}
	started := make([]stage, len(stages))
	early := make(chan struct{}, len(stages)) // room for all, so that nobody waits
	for i, run := range stages {
		sctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		started[i] = stage{cancel, make(chan error, 1)}
		go func() {
			started[i].ended <- run(sctx)
			early <- struct{}{}
		}()
	}
	select {
	case <-ctx.Done():
	case <-early:
	}
	stopping()
	var errs []error
	for _, s := range started {
		s.cancel()
		errs = append(errs, <-s.ended)
	}
	return errors.Join(errs...)
}

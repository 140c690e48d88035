package connworker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Run registers the worker and serves until ctx ends and the drain after it is over. The order of the drain: the worker reports
// that it is not ready and is marked as draining, so that it gets no new slots and visitors; other workers, if there are any, take
// its slots over, make before break; the connections unregister and running requests finish, within the grace period; the leases
// are released; the worker's registration is removed.
func (s *Service) Run(ctx context.Context) error {
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var registrar, loops sync.WaitGroup
	refused := make(chan error, 1)
	registrar.Go(func() {
		if err := s.registrar.Run(live); err != nil {
			refused <- err
		}
	})
	loops.Go(func() {
		select {
		case <-s.registrar.Acquired():
			s.keepers.Run(live)
		case <-live.Done():
		}
	})
	if s.network != nil {
		loops.Go(func() { s.network(live, s.log, s.NetworkChanged) })
	}
	if s.remote != nil {
		loops.Go(func() { s.remote.follower.Run(live) })
	}

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-refused:
	}
	if failure == nil && !errors.Is(context.Cause(ctx), ErrKilled) {
		s.draining.Store(true)
		s.log.InfoContext(live, "worker drains", slog.Duration(logkey.GracePeriod, s.cfg.GracePeriod))
		s.registrar.Leave()
		registrar.Wait()
	}
	kill()
	registrar.Wait()
	loops.Wait()
	if s.remote != nil {
		_ = s.remote.balancer.Close() // no flow is left
		_ = s.remote.pusher.Close()
	}
	if failure != nil {
		return fmt.Errorf("conn-worker: %w", failure)
	}
	return nil
}

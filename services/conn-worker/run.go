package connworker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// unregisterTime is what the drain may take beyond the grace period, for the calls to the edge.
const unregisterTime = 2 * time.Second

// Run registers the worker and serves until ctx ends and the drain after it is over. The order of the drain: the worker reports
// that it is not ready and is marked as draining, so that it gets no new slots and visitors; other workers, if there are any, take
// its slots over, make before break; the connections unregister and running requests finish, within the grace period; the leases
// are released; the worker's registration is removed.
func (s *Service) Run(ctx context.Context) error {
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	registering, stopRegistering := context.WithCancel(live)
	defer stopRegistering()
	var registrar, loops sync.WaitGroup
	registrar.Go(func() { s.registrar.Run(registering) })
	loops.Go(func() { s.keepers.Run(live) })
	if s.remote != nil {
		loops.Go(func() { s.remote.follower.Run(live) })
	}

	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrKilled) {
		s.drain(live)
		stopRegistering()
		registrar.Wait()
		s.registrar.Remove(live)
	}
	kill()
	registrar.Wait()
	loops.Wait()
	if s.remote != nil {
		_ = s.remote.balancer.Close() // no flow is left
		_ = s.remote.pusher.Close()
	}
	return nil
}

// drain leaves all slots within the grace period.
func (s *Service) drain(ctx context.Context) {
	began := time.Now()
	s.draining.Store(true)
	s.keepers.RefuseGrants()
	s.log.InfoContext(ctx, "worker drains", slog.Duration(logkey.GracePeriod, s.cfg.GracePeriod))
	if s.registrar.AnnounceDrain(ctx) {
		s.keepers.Await(ctx, s.cfg.GracePeriod/2)
	}
	s.keepers.Drain()
	s.keepers.Await(ctx, s.cfg.GracePeriod-time.Since(began)+unregisterTime)
}

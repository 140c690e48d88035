package connworker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/push"
)

const (
	// goodbyeTime bounds each call of the goodbye to the store.
	goodbyeTime = time.Second
	// lastCallTime is what the drain may take beyond the grace period, for the calls to the edge.
	lastCallTime = 2 * time.Second
)

// Run registers the worker and serves until ctx ends and the drain after it is over. The order of the end: not ready
// and marked as draining, so that nothing new comes; slots handed over to other workers where there are any, make before
// break; registrations taken back and running flows finished, within the grace period; leases released; the worker's
// registration removed.
func (s *Service) Run(ctx context.Context) error {
	live, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	var loops, keepers sync.WaitGroup
	wake := s.store.Watch(live, lease.TopicGrants)
	loops.Go(func() { s.forward(live, wake) })
	registered, stopRegistering := context.WithCancel(live)
	defer stopRegistering()
	var registrar sync.WaitGroup
	registrar.Go(func() { s.register(registered) })
	if s.balancer != nil {
		loops.Go(func() { s.followProxies(live) })
	}
	for _, k := range s.keepers {
		keepers.Go(func() { k.run(live) })
	}

	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), ErrKilled) {
		s.drain(live)
		stopRegistering()
		registrar.Wait()
		s.goodbye(live)
	}
	kill()
	registrar.Wait()
	keepers.Wait()
	loops.Wait()
	if s.balancer != nil {
		_ = s.balancer.Close() // nothing is under way any more
		_ = s.pusher.Close()
	}
	return nil
}

// forward passes hints on to the keepers: one subscription serves all tunnels.
func (s *Service) forward(ctx context.Context, wake <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			for _, k := range s.keepers {
				k.wake()
			}
		}
	}
}

// register keeps the worker's registration alive. It alone writes it, so that no write overtakes another one.
func (s *Service) register(ctx context.Context) {
	tick := time.NewTicker(lease.RenewEvery)
	defer tick.Stop()
	for known := false; ; {
		err := s.store.PutWorker(ctx, s.record(), lease.WorkerTTL)
		s.heard(ctx, err)
		if err == nil && !known {
			known = true
			s.hint(ctx, lease.TopicFleet)
		}
		if err != nil {
			known = false // supervisors may have seen it run out
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case answer := <-s.announce:
			answer <- s.store.PutWorker(ctx, s.record(), lease.WorkerTTL)
		}
	}
}

// followProxies tells the balancer which proxies there are; while the store is away, and for a while after, it keeps
// the last ones.
func (s *Service) followProxies(ctx context.Context) {
	wake := s.store.Watch(ctx, lease.TopicFleet)
	tick := time.NewTicker(lease.RenewEvery)
	defer tick.Stop()
	usable := push.Selector{Logger: s.log}
	roster := fleet.Roster{Settle: lease.ProxyTTL + lease.RenewEvery}
	for {
		proxies, err := s.store.Proxies(ctx)
		s.heard(ctx, err)
		if err == nil {
			usable.Trust = s.cfg.Link.trust() // the default directory may have been created since
			s.setProxies(ctx, s.pusher.Admit(ctx, usable.Select(ctx, roster.Listed(time.Now(), proxies))))
		} else {
			roster.Missed()
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
	}
}

// setProxies hands the proxies to the balancer, and tells the supervisors when the first one came or the last one went.
func (s *Service) setProxies(ctx context.Context, proxies []link.Proxy) {
	s.balancer.SetProxies(proxies)
	before := s.proxies.Swap(int32(len(proxies)))
	if (before > 0) == (len(proxies) > 0) {
		return
	}
	s.log.InfoContext(ctx, "proxies changed", slog.Int(logkey.Proxies, len(proxies)))
	if s.announced(ctx) == nil {
		s.hint(ctx, lease.TopicFleet)
	}
}

// drain leaves all slots within the grace period.
func (s *Service) drain(ctx context.Context) {
	began := time.Now()
	s.draining.Store(true)
	for _, k := range s.keepers {
		k.leave(false)
	}
	s.log.InfoContext(ctx, "worker drains", slog.Duration(logkey.GracePeriod, s.cfg.GracePeriod))
	if s.announceDrain(ctx) {
		s.await(ctx, s.cfg.GracePeriod/2)
	}
	for _, k := range s.keepers {
		k.leave(true)
	}
	s.await(ctx, s.cfg.GracePeriod-time.Since(began)+lastCallTime)
}

// announceDrain marks the registration and reports whether another worker can take a slot over.
func (s *Service) announceDrain(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	if !s.storeUp.Load() || s.announced(ctx) != nil {
		return false
	}
	workers, err := s.store.Workers(ctx)
	if err != nil {
		return false
	}
	s.hint(ctx, lease.TopicFleet)
	for _, w := range workers {
		if w.ID == s.id || w.Draining {
			continue
		}
		for _, ref := range w.Tunnels {
			if s.serves(ref.ID) {
				return true
			}
		}
	}
	return false
}

// announced has the registration written anew.
func (s *Service) announced(ctx context.Context) error {
	answer := make(chan error, 1) // so that nobody waits for one who has gone
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s.announce <- answer:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-answer:
		return err
	}
}

func (s *Service) serves(id tunnel.ID) bool {
	for _, k := range s.keepers {
		if k.cred.TunnelID == id {
			return true
		}
	}
	return false
}

// await waits until no holder is left, but not longer than d.
func (s *Service) await(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, max(d, 0))
	defer cancel()
	for s.held() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-s.settle:
		}
	}
}

func (s *Service) held() int {
	n := 0
	for _, k := range s.keepers {
		n += k.held()
	}
	return n
}

// goodbye removes the registration, so that nobody waits for it to run out.
func (s *Service) goodbye(ctx context.Context) {
	if !s.storeUp.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	if err := s.store.RemoveWorker(ctx, s.id); err != nil {
		s.log.WarnContext(ctx, "registration not removed, it runs out by itself", slog.Any(logkey.Err, err))
		return
	}
	s.hint(ctx, lease.TopicFleet)
}

// heard follows whether the store answers, and says each change once.
func (s *Service) heard(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	up := !errors.Is(err, tunnel.ErrUnavailable)
	was := s.storeUp.Swap(up)
	switch {
	case up && !was:
		s.log.InfoContext(ctx, "control plane is available again")
	case !up && was:
		s.log.WarnContext(ctx, "control plane is unavailable, connections stay", slog.Any(logkey.Err, err))
	}
	s.metrics.setUp(up)
}

// hint wakes others. One that is lost costs them a tick.
func (s *Service) hint(ctx context.Context, topic string) {
	if err := s.store.Hint(ctx, topic); err != nil && ctx.Err() == nil {
		s.log.DebugContext(ctx, "hint lost", slog.String(logkey.Topic, topic), slog.Any(logkey.Err, err))
	}
}

func (s *Service) settled() {
	select {
	case s.settle <- struct{}{}:
	default:
	}
}

package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// renewEvery is how often the lead is renewed or requested; three attempts fit into its TTL.
	renewEvery = lease.LeaseTTL / 3
	// recordGrace is how much longer than the addresses the TXT records may take: addresses are what a start waits for.
	recordGrace = time.Second
	// resignTimeout bounds the call that gives up the lead at the end.
	resignTimeout = 2 * time.Second

	// The shape of the waits after failed lookups: up to 1 min.
	retryBase  = time.Second
	retryCount = 6

	protocolRecord = "protocol-v2"
	featureRecord  = "cfd-features"
)

// publisher is when the next lookup is due. Run's goroutine alone uses it.
type publisher struct {
	due      time.Time
	failures backoff.Counter
}

// next is the time to the next round: early when a lookup is due, else when the lead must be renewed. If the store is
// unavailable, the next round comes soon.
func (p *publisher) next(now time.Time, leads bool, err error) time.Duration {
	switch {
	case err != nil:
		return retryBase
	case leads:
		return max(0, min(renewEvery, p.due.Sub(now)))
	default:
		return renewEvery
	}
}

// refresh looks everything up and publishes it. A failure is kept for the state and retried after a growing wait.
func (s *Service) refresh(ctx context.Context, p *publisher) error {
	found, err := s.lookup(ctx)
	changed := false
	if err == nil {
		changed, err = s.publish(ctx, found)
	}
	now := time.Now()
	s.setLookup(ctx, now, err)
	if err != nil {
		s.metrics.lookups.WithLabelValues("failure").Inc()
		p.failures = p.failures.Failed(now)
		p.due = now.Add(backoff.Policy{Base: retryBase, Retries: retryCount}.Wait(p.failures.Failures, rand.Int64N))
		if errors.Is(err, tunnel.ErrUnavailable) {
			return err
		}
		return nil
	}
	s.metrics.lookups.WithLabelValues("success").Inc()
	p.failures = p.failures.Succeeded(now, 0)
	p.due = now.Add(s.cfg.Refresh)
	if !changed {
		return nil
	}
	return s.store.Hint(ctx, lease.TopicPools)
}

// publish writes the pool. TXT records that could not be read stay as they were.
func (s *Service) publish(ctx context.Context, found edgepool.Pool) (changed bool, err error) {
	stored, err := s.store.Pool(ctx, s.cfg.Name)
	if err != nil && !errors.Is(err, tunnel.ErrNotFound) {
		return false, err
	}
	if found.ProtocolTXT == "" {
		found.ProtocolTXT = stored.ProtocolTXT
	}
	if found.FeatureTXT == "" {
		found.FeatureTXT = stored.FeatureTXT
	}
	changed = err != nil || !edgepool.Same(stored, found)
	version, err := s.store.PublishPool(ctx, s.cfg.Name, found)
	if err != nil {
		return false, err
	}
	if changed {
		s.log.InfoContext(ctx, "edge pool published", slog.Uint64(logkey.Version, version),
			slog.String(logkey.Source, string(found.Source)), slog.Int(logkey.Regions, found.UsableRegions()),
			slog.Int(logkey.Addresses, found.Count(edgepool.Any)))
	}
	return changed, nil
}

// lookup gets the addresses and the TXT records. With a static list no record is read: it names an edge of the
// operator's own choice, of which the records of another domain say nothing.
func (s *Service) lookup(ctx context.Context) (edgepool.Pool, error) {
	p := edgepool.Pool{Source: edgepool.SourceStatic}
	var err error
	if len(s.cfg.Static) > 0 {
		var skipped error
		p.Regions, skipped, err = s.client.Static(ctx, s.cfg.Static)
		if skipped != nil {
			s.log.WarnContext(ctx, "static edge addresses skipped", slog.Any(logkey.Err, skipped))
		}
		p.FetchedAt = time.Now().UTC()
		return p, err
	}
	recordCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { p.ProtocolTXT = s.record(recordCtx, protocolRecord, checkShares) })
	wg.Go(func() { p.FeatureTXT = s.record(recordCtx, featureRecord, checkFeatures) })
	regions, source, err := s.client.Regions(ctx, s.cfg.SRV.Record())
	if err != nil {
		cancel()
	}
	late := time.AfterFunc(recordGrace, cancel)
	wg.Wait()
	late.Stop()
	p.Regions, p.Source, p.FetchedAt = regions, source, time.Now().UTC()
	return p, err
}

// record reads a TXT record; empty if it cannot be read or says nothing that can be understood.
func (s *Service) record(ctx context.Context, label string, check func(string) error) string {
	name := label + "." + s.cfg.SRV.Domain
	text, err := s.client.Text(ctx, name)
	if err == nil {
		err = check(text)
	}
	if err != nil {
		s.log.DebugContext(ctx, "record not read", slog.String(logkey.Record, name), slog.Any(logkey.Err, err))
		return ""
	}
	return text
}

func checkShares(text string) error {
	_, err := protocol.ParseShares(text)
	return err
}

func checkFeatures(text string) error {
	_, err := protocol.ParseFeatures(text)
	return err
}

// Record is the full name of the SRV record (docs/spec/wire.md 2.1).
func (c SRV) Record() string {
	service := c.Service
	if c.Region != "" {
		service = strings.ToLower(c.Region) + "-" + service
	}
	return fmt.Sprintf("_%s._tcp.%s", service, c.Domain)
}

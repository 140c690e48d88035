package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
)

const (
	// recordGrace is how much longer than the addresses the TXT records may take: addresses are what a start waits for.
	recordGrace = time.Second

	protocolRecord = "protocol-v2"
	featureRecord  = "cfd-features"
)

// published logs that the pool changed.
func (s *Service) published(ctx context.Context, p retain.Published) {
	s.log.InfoContext(ctx, "edge pool published", slog.Uint64(logkey.Version, p.Version),
		slog.String(logkey.Source, string(p.Pool.Source)), slog.Int(logkey.Regions, p.Pool.UsableRegions()),
		slog.Int(logkey.Addresses, p.Pool.Count(edgepool.Any)))
}

// lookup gets the addresses and the TXT records, and tells once when some were refused.
func (s *Service) lookup(ctx context.Context) (edgepool.Pool, error) {
	p, err := s.find(ctx)
	if refused := s.refused.news(); refused != nil {
		s.log.WarnContext(ctx, "edge addresses refused, private_addresses allows them", slog.Any(logkey.Err, refused))
	}
	return p, err
}

// refusals collects why addresses were refused. One lookup at a time.
type refusals struct {
	now  []error
	told bool
}

func (r *refusals) add(err error) { r.now = append(r.now, err) }

// news ends a lookup. It returns what was refused in it, unless something was in the one before as well.
func (r *refusals) news() error {
	now, told := r.now, r.told
	r.now, r.told = nil, len(r.now) > 0
	if told || len(now) == 0 {
		return nil
	}
	return now[0]
}

// find gets the addresses and the TXT records. With a static list no record is read: it names an edge of the
// operator's own choice, of which the records of another domain say nothing.
func (s *Service) find(ctx context.Context) (edgepool.Pool, error) {
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

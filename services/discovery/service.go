package discovery

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/resolve"
)

// Deps is what the service works with.
type Deps struct {
	Store      Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
	// Files reads the roots of the resolver again when they change; nil reads them once.
	Files *filewatch.Watcher
}

// Store is the part of the shared state that discovery uses.
type Store interface {
	leads
	pools
}

type leads interface {
	TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error)
	ResignLead(ctx context.Context, role, holder string) error
	Leader(ctx context.Context, role string) (string, error)
}

type pools interface {
	PublishPool(ctx context.Context, name string, p edgepool.Pool) (version uint64, err error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
	Hint(ctx context.Context, topic string) error
}

// Service is one replica.
type Service struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	metrics *metrics
	client  *resolve.Client
	// id is unique among the replicas.
	id string

	// mu protects state.
	mu    sync.Mutex
	state state
}

// New makes a replica. It reads the files that cfg names and sends no query.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("discovery: metrics: %w", err)
	}
	client := resolve.Config{Timeout: cfg.Timeout}
	if cfg.Resolver != SystemResolver {
		client.Server = cfg.Resolver
	}
	if cfg.fallsBackToDoT() {
		client.DoTAddr = cfg.DoT.Addr
		if client.DoTTLS, err = cfg.DoT.tls(deps.Files); err != nil {
			return nil, fmt.Errorf("discovery: dot: %w", err)
		}
	}
	return &Service{
		cfg: cfg, store: deps.Store, log: deps.Logger, metrics: m,
		client: resolve.New(client), id: newID(), state: state{problem: errStarting},
	}, nil
}

// newID is the host name and a random part, since a host may run several replicas.
func newID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + rand.Text()[:8]
}

// tls gives the configuration of connections to the resolver. files, which may be nil, reads the roots again when they change.
func (d DoT) tls(files *filewatch.Watcher) (func() *tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.ServerName}
	if d.CAFile == "" {
		return func() *tls.Config { return cfg }, nil
	}
	roots, err := files.Pool("ca_file", d.CAFile)
	if err != nil {
		return nil, err
	}
	return func() *tls.Config {
		current := cfg.Clone()
		current.RootCAs = roots()
		return current
	}, nil
}

// role is the lead that the replicas of one pool share.
func (s *Service) role() string { return "discovery:" + s.cfg.Name }

// Run publishes while it leads and stands by otherwise, until ctx ends. It then gives the lead up.
func (s *Service) Run(ctx context.Context) error {
	var p publisher
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.resign(ctx)
		case <-timer.C:
		}
		leads, err := s.round(ctx, &p)
		timer.Reset(p.next(time.Now(), leads, err))
	}
}

// round takes or renews the lead, publishes when it is time, and looks at the pool.
func (s *Service) round(ctx context.Context, p *publisher) (leads bool, err error) {
	leads, err = s.store.TakeLead(ctx, s.role(), s.id, lease.LeaseTTL)
	if err == nil {
		s.setLead(ctx, leads)
		if leads && !time.Now().Before(p.due) {
			err = s.refresh(ctx, p)
		}
		err = errors.Join(err, s.look(ctx))
	}
	s.report(ctx, err)
	return leads, err
}

func (s *Service) resign(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if err := s.store.ResignLead(ctx, s.role(), s.id); err != nil {
		// The lead ends by itself a little later; that is no reason for this process to fail.
		s.log.DebugContext(ctx, "lead not resigned", slog.Any(logkey.Err, err))
	}
	return nil
}

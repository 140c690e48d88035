package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Fleet is what the supervisor reads of the deployment.
type Fleet interface {
	Workers(ctx context.Context) ([]fleet.Worker, error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
	EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error)
}

// Slots is what the supervisor reads and writes of slots.
type Slots interface {
	Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) ([]lease.Record, error)
	Proved(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (bool, error)
	Grant(ctx context.Context, g lease.Grant, expect tunnel.Epoch, ttl time.Duration) (lease.Grant, error)
	Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error
}

// Signals elects the supervisor that plans, and wakes other processes.
type Signals interface {
	TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error)
	ResignLead(ctx context.Context, role, holder string) error
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Store is the part of the shared state that a supervisor uses.
type Store interface {
	Fleet
	Slots
	Signals
}

// Deps are the dependencies of a supervisor.
type Deps struct {
	Store  Store
	Logger *slog.Logger
	// Registerer may be nil: then nothing is measured.
	Registerer prometheus.Registerer
}

// Numbers of the loop.
const (
	role = "supervisor"
	// leadTTL is how long a leader that crashed keeps others from planning.
	leadTTL = 4 * time.Second
	// restTime is the shortest time between two reads of the store, so that many hints cost few reads.
	restTime = 10 * time.Millisecond
	// settleTime is how long the store must have been available without a break before an absence counts: two renewals and
	// some time to connect.
	settleTime = 2*lease.RenewEvery + time.Second
	// resignTimeout bounds the call that gives up the lead at the end.
	resignTimeout = time.Second
)

// Errors of Ready.
var (
	errStarting = errors.New("supervisor has not looked at the store yet")
	errDown     = errors.New("store unavailable")
)

// Service is a supervisor.
type Service struct {
	id      string
	cfg     Config
	store   Store
	log     *slog.Logger
	metrics *metrics
	board   *board
	// steady is the time since which the store has been available; zero while it is not. It belongs to the loop of Run.
	steady time.Time

	mu sync.Mutex
	// state is why the supervisor is not ready, or nil.
	state error
	// seen is the last world that was read; it is replaced, never changed.
	seen plan.World
	lead bool
}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("supervisor metrics: %w", err)
	}
	id := cfg.ID
	if id == "" {
		id = fmt.Sprintf("supervisor-%016x", rand.Uint64())
	}
	return &Service{
		id: id, cfg: cfg, store: deps.Store, metrics: m, state: errStarting,
		log: deps.Logger.With(slog.String(logkey.SupervisorID, id)),
		board: &board{
			store: deps.Store, connections: cfg.Connections, connectors: map[tunnel.ID]tunnel.ConnectorID{}, pools: map[string]edgepool.Pool{},
		},
	}, nil
}

// Run plans until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	wake := s.store.Watch(ctx, lease.TopicFleet, lease.TopicPools, lease.TopicStatus)
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		err := s.pass(ctx)
		if errors.Is(err, tunnel.ErrUnavailable) {
			s.steady = time.Time{}
		}
		s.report(ctx, err)
		rest.Reset(restTime)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			s.resign(ctx)
			return nil
		case <-wake:
		case <-tick.C:
		}
	}
}

// pass reads the world once and executes the plan for it.
func (s *Service) pass(ctx context.Context) error {
	lead, err := s.store.TakeLead(ctx, role, s.id, leadTTL)
	if err != nil {
		return err
	}
	if s.steady.IsZero() {
		s.steady = time.Now()
	}
	s.setLead(ctx, lead)
	if !lead {
		return nil
	}
	world, err := s.board.read(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	s.board.health.observe(&world, now)
	world.Unsettled = now.Sub(s.steady) < settleTime
	s.mu.Lock()
	s.seen = world
	s.mu.Unlock()
	result := plan.Plan(world)
	s.logShortages(ctx, result.Shortages)
	return s.execute(ctx, result.Actions)
}

// execute writes the plan. A conflict means that the world has changed; the next pass reads it again.
func (s *Service) execute(ctx context.Context, actions []plan.Action) error {
	done := 0
	for _, a := range actions {
		var err error
		switch a := a.(type) {
		case plan.Grant:
			err = s.grant(ctx, a)
		case plan.Release:
			err = s.release(ctx, a)
		}
		switch {
		case err == nil:
			done++
		case errors.Is(err, tunnel.ErrConflict), errors.Is(err, tunnel.ErrFenced), errors.Is(err, tunnel.ErrNotFound):
			s.metrics.conflicts.Inc()
			s.log.DebugContext(ctx, "plan outdated", slog.Any(logkey.Err, err))
		default:
			return err
		}
	}
	if done == 0 {
		return nil
	}
	return s.store.Hint(ctx, lease.TopicGrants)
}

func (s *Service) grant(ctx context.Context, g plan.Grant) error {
	granted, err := s.store.Grant(ctx, g.Grant, g.Expect, lease.LeaseTTL)
	if err != nil {
		return err
	}
	s.metrics.grants.WithLabelValues(string(g.Cause)).Inc()
	s.log.InfoContext(ctx, "slot granted",
		slog.String(logkey.TunnelID, g.Slot.Tunnel.String()), slog.Int(logkey.ConnIndex, int(g.Slot.Index)),
		slog.String(logkey.WorkerID, string(g.Worker)), slog.Uint64(logkey.Epoch, uint64(granted.Epoch)),
		slog.String(logkey.EdgeAddr, g.Edge.String()), slog.String(logkey.Cause, string(g.Cause)),
		slog.Duration(logkey.Wait, granted.Wait))
	return nil
}

func (s *Service) release(ctx context.Context, r plan.Release) error {
	if err := s.store.Release(ctx, r.Slot, r.Worker, r.Epoch); err != nil {
		return err
	}
	s.metrics.grants.WithLabelValues(string(r.Cause)).Inc()
	s.log.InfoContext(ctx, "slot released",
		slog.String(logkey.TunnelID, r.Slot.Tunnel.String()), slog.Int(logkey.ConnIndex, int(r.Slot.Index)),
		slog.String(logkey.WorkerID, string(r.Worker)), slog.String(logkey.Cause, string(r.Cause)))
	return nil
}

// resign lets another supervisor take over at once.
func (s *Service) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	if !s.leading() {
		return
	}
	if err := s.store.ResignLead(ctx, role, s.id); err != nil {
		s.log.DebugContext(ctx, "lead not resigned, it runs out by itself", slog.Any(logkey.Err, err))
		return
	}
	_ = s.store.Hint(ctx, lease.TopicStatus) // another supervisor's tick does the same a little later
}

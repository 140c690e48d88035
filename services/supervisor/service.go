package supervisor

import (
	"context"
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
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

// Signals is how supervisors agree on who plans, and wake others.
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

// Deps are what a supervisor is given.
type Deps struct {
	Store  Store
	Logger *slog.Logger
	// Registerer may be nil: then nothing is measured.
	Registerer prometheus.Registerer
}

// Service is a supervisor.
type Service struct{}

// New checks the configuration.
func New(cfg Config, deps Deps) (*Service, error) { return &Service{}, nil }

// Run plans until ctx ends.
func (s *Service) Run(ctx context.Context) error { return nil }

// Ready says why the supervisor cannot do its work, or nil.
func (s *Service) Ready() error { return nil }

// Routes adds the supervisor's own endpoints.
func (s *Service) Routes(g *echo.Group) {}

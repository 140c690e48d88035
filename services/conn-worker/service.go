package connworker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrKilled as the cause of the context of Run ends the worker as a crash would: no drain, nothing released.
var ErrKilled = errors.New("killed")

// Fleet is what the worker writes and reads of the deployment.
type Fleet interface {
	PutWorker(ctx context.Context, w fleet.Worker, ttl time.Duration) error
	RemoveWorker(ctx context.Context, id tunnel.WorkerID) error
	Workers(ctx context.Context) ([]fleet.Worker, error)
	Proxies(ctx context.Context) ([]fleet.Proxy, error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
}

// Leases is what the worker does with the slots of a connector.
type Leases interface {
	EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error)
	Renew(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID,
		reports []lease.Report, ttl time.Duration) ([]lease.Record, error)
	Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error
}

// Signals is how processes wake each other.
type Signals interface {
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Store is the part of the shared state that a worker uses.
type Store interface {
	Fleet
	Leases
	Signals
}

// Remote takes configurations that the edge pushes.
type Remote interface {
	// UpdateConfiguration returns the version in force afterwards, also together with an error.
	UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error)
}

// Deps are what a worker is given.
type Deps struct {
	Store Store
	// Carrier takes the flows. When it is nil, the worker reaches the proxies that are registered in the store.
	Carrier link.Carrier
	Logger  *slog.Logger
	// Registerer may be nil: then nothing is measured.
	Registerer prometheus.Registerer
	// Version is announced to the edge and in the store.
	Version string
	// Credentials are served in addition to those of the configuration.
	Credentials []tunnel.Credentials
	// LocalConfig gives the JSON that index 0 uploads (spec/wire.md 8.3); nil uploads nothing.
	LocalConfig func() []byte
	// Remote may be nil: then pushed configurations are answered with an error.
	Remote Remote
}

// Service is a conn-worker.
type Service struct{}

// New reads credentials and roots and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) { return &Service{}, nil }

// Run registers the worker and serves until ctx ends and the drain after it is over.
func (s *Service) Run(ctx context.Context) error { return nil }

// Ready says why the worker serves nothing, or nil.
func (s *Service) Ready() error { return nil }

// Routes adds the worker's own endpoints.
func (s *Service) Routes(g *echo.Group) {}

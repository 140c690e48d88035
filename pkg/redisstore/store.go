package redisstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Config says where the store is.
type Config struct {
	URL          string        `yaml:"url" usage:"redis://, rediss:// or unix:// URL of the store"`
	PasswordFile string        `yaml:"password_file" usage:"file with the store's password"`
	CAFile       string        `yaml:"ca_file" usage:"PEM file with the roots for rediss:// (default: the system's)"`
	Timeout      time.Duration `yaml:"timeout" usage:"bound of every call to the store"`
}

// Default is the configuration of a store that is not configured yet: no URL, all bounds set.
func Default() Config { return Config{Timeout: 2 * time.Second} }

// Store is a connection to the shared state.
type Store struct{}

// Open connects to a Redis.
func Open(ctx context.Context, cfg Config) (*Store, error) { return nil, tunnel.ErrUnavailable }

// OpenURL is Open with the defaults and a URL.
func OpenURL(ctx context.Context, url string) (*Store, error) { return nil, tunnel.ErrUnavailable }

// OpenEmbedded starts a store inside the process.
func OpenEmbedded(ctx context.Context, logger *slog.Logger) (*Store, error) {
	return nil, tunnel.ErrUnavailable
}

// PublishPool writes a pool.
func (s *Store) PublishPool(ctx context.Context, name string, p edgepool.Pool) (uint64, error) {
	return 0, tunnel.ErrUnavailable
}

// Pool reads a pool.
func (s *Store) Pool(ctx context.Context, name string) (edgepool.Pool, error) {
	return edgepool.Pool{}, tunnel.ErrUnavailable
}

// TakeLead takes or renews a leader lease.
func (s *Store) TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error) {
	return false, tunnel.ErrUnavailable
}

// ResignLead gives a leader lease up.
func (s *Store) ResignLead(ctx context.Context, role, holder string) error {
	return tunnel.ErrUnavailable
}

// Leader names the current holder of a leader lease.
func (s *Store) Leader(ctx context.Context, role string) (string, error) {
	return "", tunnel.ErrUnavailable
}

// PutWorker writes a registration.
func (s *Store) PutWorker(ctx context.Context, w fleet.Worker, ttl time.Duration) error {
	return tunnel.ErrUnavailable
}

// RemoveWorker ends a registration.
func (s *Store) RemoveWorker(ctx context.Context, id tunnel.WorkerID) error {
	return tunnel.ErrUnavailable
}

// Workers lists the live registrations.
func (s *Store) Workers(ctx context.Context) ([]fleet.Worker, error) {
	return nil, tunnel.ErrUnavailable
}

// PutProxy writes a registration.
func (s *Store) PutProxy(ctx context.Context, p fleet.Proxy, ttl time.Duration) error {
	return tunnel.ErrUnavailable
}

// RemoveProxy ends a registration.
func (s *Store) RemoveProxy(ctx context.Context, id tunnel.ProxyID) error {
	return tunnel.ErrUnavailable
}

// Proxies lists the live registrations.
func (s *Store) Proxies(ctx context.Context) ([]fleet.Proxy, error) {
	return nil, tunnel.ErrUnavailable
}

// EnsureConnector returns the connector id of a tunnel, which is candidate if none was stored.
func (s *Store) EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error) {
	return tunnel.ConnectorID{}, tunnel.ErrUnavailable
}

// Slots reads all slots of a connector.
func (s *Store) Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) ([]lease.Record, error) {
	return nil, tunnel.ErrUnavailable
}

// Grant grants a slot.
func (s *Store) Grant(ctx context.Context, g lease.Grant, expect tunnel.Epoch, ttl time.Duration) (lease.Grant, error) {
	return lease.Grant{}, tunnel.ErrUnavailable
}

// Renew renews a worker's slots of one connector.
func (s *Store) Renew(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID, reports []lease.Report, ttl time.Duration) ([]lease.Record, error) {
	return nil, tunnel.ErrUnavailable
}

// Release frees a slot.
func (s *Store) Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error {
	return tunnel.ErrUnavailable
}

// Proved reports whether the first-connection gate is open.
func (s *Store) Proved(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (bool, error) {
	return false, tunnel.ErrUnavailable
}

// Hint wakes the watchers of a topic.
func (s *Store) Hint(ctx context.Context, topic string) error { return tunnel.ErrUnavailable }

// Watch returns a channel that receives after hints.
func (s *Store) Watch(ctx context.Context, topics ...string) <-chan struct{} { return nil }

// Ping asks whether the store answers.
func (s *Store) Ping(ctx context.Context) error { return tunnel.ErrUnavailable }

// Close ends the store.
func (s *Store) Close() error { return nil }

package connworker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/control"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/datapath"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/metrics"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/push"
)

// ErrKilled as the cause of the context of Run ends the worker as a crash would: no drain, nothing released.
var ErrKilled = errors.New("killed")

var errNoProxy = errors.New("no proxy is known: this worker takes no slot")

// Store is the part of the shared state that a worker uses.
type Store interface {
	control.Store
	control.Hinter
	keeper.Store
	push.Store
}

// Dialer makes sessions to the edge; its errors are *tunnel.ConnError.
type Dialer = keeper.Dialer

// Deps are the collaborators of a worker.
type Deps struct {
	Store Store
	// Carrier carries the flows to a proxy. When it is nil, the worker reaches the proxies that are registered in the store.
	Carrier link.Carrier
	Logger  *slog.Logger
	// Registerer may be nil: then nothing is measured.
	Registerer prometheus.Registerer
	// Version is announced to the edge and in the store.
	Version string
	// Credentials are served in addition to those of the configuration. FromToken says that they came as run tokens.
	Credentials []tunnel.Credentials
	FromToken   bool
	// Files reads credentials, roots and certificates of the link again when they change; nil reads them once.
	Files *filewatch.Watcher
	// Alone says that no other process uses Store, so that the worker need not wait for what others know.
	Alone bool
	// Dialer makes sessions to the edge. Nil makes them over QUIC and HTTP/2, with the settings of the configuration.
	Dialer Dialer
	// Network calls a function after each change of the network, until its context ends; nil watches nothing.
	Network func(ctx context.Context, logger *slog.Logger, changed func())
	// LocalConfig returns the JSON that index 0 uploads (docs/spec/wire.md 8.3); nil uploads nothing.
	LocalConfig func() []byte
	// Applier gets pushed configurations where Carrier is given; without one they are rejected. Without a Carrier they go to
	// the proxies that are registered in the store.
	Applier datapath.Applier
}

// Service is a conn-worker.
type Service struct {
	cfg       Config
	id        tunnel.WorkerID
	instance  string // of this process
	store     Store
	log       *slog.Logger
	control   *control.Plane
	registrar *control.Registrar
	keepers   *keeper.Set
	network   func(ctx context.Context, logger *slog.Logger, changed func())
	remote    *remote // nil when the carrier was given
	draining  atomic.Bool
}

// New reads credentials and roots and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("conn-worker: %w", err)
	}
	s := &Service{cfg: cfg, store: deps.Store, network: deps.Network}
	creds, err := cfg.Credentials.load(deps.Files, s.ReplaceCredentials, deps.credentials()...)
	if err != nil {
		return nil, fmt.Errorf("conn-worker: %w", err)
	}
	host := s.name()
	s.log = deps.Logger.With(slog.String(logkey.WorkerID, string(s.id)))
	m := metrics.New()
	s.control = control.NewPlane(deps.Store, s.log, m.SetUp)
	if deps.Carrier == nil {
		if s.remote, err = s.newRemote(deps.Files); err != nil {
			return nil, fmt.Errorf("conn-worker: link: %w", err)
		}
	}
	if s.keepers, err = s.newKeepers(deps, m, creds); err != nil {
		return nil, fmt.Errorf("conn-worker: edge: %w", err)
	}
	s.registrar = control.NewRegistrar(deps.Store, s.control, s.log, control.Registration{
		ID: s.id, Instance: s.instance, PID: os.Getpid(), Started: time.Now(), Host: host, Version: deps.Version,
		Tunnels: s.keepers.Tunnels, Capacity: s.capacity, GracePeriod: cfg.GracePeriod, Pool: s.keepers.Pool,
	}, s.keepers)
	if err := m.Register(deps.Registerer, s.places); err != nil {
		return nil, fmt.Errorf("conn-worker metrics: %w", err)
	}
	return s, nil
}

// newKeepers makes the keepers and the data path below them.
func (s *Service) newKeepers(deps Deps, m *metrics.Metrics, creds []keeper.Credentials) (*keeper.Set, error) {
	cfg := s.cfg
	path := datapath.Config{
		Carrier: deps.Carrier, Applier: deps.Applier, Observer: m, Logger: s.log, RPCTimeout: cfg.RPCTimeout,
		Streams:   cfg.Streams.limits(),
		Datagrams: datapath.DatagramLimits{Sessions: cfg.Datagrams.MaxSessions, QueueBytes: cfg.Datagrams.QueueBytes},
	}
	if path.Applier == nil {
		path.Applier = datapath.Unsupported{}
	}
	if s.remote != nil {
		path.Carrier, path.Applier, path.Proxies = s.remote.balancer, s.remote.pusher, s.remote.balancer.Proxies
	}
	dialer := deps.Dialer
	if dialer == nil {
		var err error
		if dialer, err = cfg.dialer(path.Applier, deps.Files); err != nil {
			return nil, err
		}
	}
	return keeper.New(cfg.keeper(s.id, s.instance, &deps), keeper.Deps{
		Store: deps.Store, Control: s.control, Dialer: dialer, Serve: datapath.New(path), Observer: m, Logger: s.log,
		LocalConfig: deps.LocalConfig, HolderGone: func() { s.registrar.HolderGone() }, // New makes the registrar later
	}, creds), nil
}

func (d Deps) credentials() []keeper.Credentials {
	var out []keeper.Credentials
	for _, c := range d.Credentials {
		out = append(out, keeper.Credentials{Credentials: c, FromToken: d.FromToken})
	}
	return out
}

// name chooses the worker's id and returns the label of its machine.
func (s *Service) name() (host string) {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	s.id = tunnel.WorkerID(s.cfg.ID)
	if s.id == "" {
		s.id = tunnel.WorkerID(fmt.Sprintf("%s-%08x", host, rand.Uint32()))
	}
	s.instance = fmt.Sprintf("%016x", rand.Uint64())
	return cmp.Or(s.cfg.Host, host)
}

// capacity is the number of slots that the worker can hold. Without a proxy it is 0: visitors that reached this worker would get an
// error although another worker could serve them.
func (s *Service) capacity() int {
	if !s.canServe() {
		return 0
	}
	return s.cfg.Capacity
}

// canServe reports whether there is a proxy to carry flows to.
func (s *Service) canServe() bool { return s.remote == nil || s.remote.follower.HasProxy() }

// Ready returns why the worker serves nothing, or nil.
func (s *Service) Ready() error {
	if s.draining.Load() {
		return tunnel.ErrDraining
	}
	if !s.canServe() {
		return errNoProxy
	}
	return s.keepers.Ready()
}

// ErrNotConnected says that a connection to reconnect is not registered.
var ErrNotConnected = keeper.ErrNotConnected

// Reconnect breaks the connection index of the tunnel id by force, without unregistering, and dials again after the delay
// (docs/spec/lifecycle.md 3.5). The error is tunnel.ErrNotFound for a tunnel that this worker does not serve, and ErrNotConnected for
// a connection that is not registered here.
func (s *Service) Reconnect(id tunnel.ID, index tunnel.ConnIndex, delay time.Duration) error {
	return s.keepers.Reconnect(id, index, delay)
}

// NetworkChanged ends the waits of connections that failed over the former network.
func (s *Service) NetworkChanged() { s.keepers.Look() }

// Alive says which part of the worker has made no progress for long before now, or nil. A store or an edge that is away is no reason:
// the worker goes on trying.
func (s *Service) Alive(now time.Time) error { return s.keepers.Alive(now) }

// ReplaceCredentials uses the secret of c for the registrations to come. c must be of a tunnel that the worker serves.
func (s *Service) ReplaceCredentials(c tunnel.Credentials) error {
	return s.keepers.ReplaceCredentials(c)
}

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

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/dial"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/push"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
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
	// Credentials are served in addition to those of the configuration. FromToken says that they came as run tokens.
	Credentials []tunnel.Credentials
	FromToken   bool
	// LocalConfig gives the JSON that index 0 uploads (docs/spec/wire.md 8.3); nil uploads nothing.
	LocalConfig func() []byte
	// Applier gets pushed configurations where Carrier is given; without one they are rejected. Without a Carrier they go to
	// the proxies that are registered in the store.
	Applier relay.Applier
}

// Service is a conn-worker.
type Service struct {
	cfg         Config
	id          tunnel.WorkerID
	host        string
	version     string
	family      edgepool.Family
	store       Store
	log         *slog.Logger
	metrics     *metrics
	dialer      *dial.Dialer
	relay       *relay.Relay
	balancer    *link.Balancer // nil when the carrier was given
	pusher      *push.Pusher   // likewise
	localConfig func() []byte
	keepers     []*keeper
	choices     *choices

	storeUp  atomic.Bool
	draining atomic.Bool
	// proxies is how many proxies the balancer knows.
	proxies  atomic.Int32
	settle   chan struct{}   // a holder ended
	announce chan chan error // asks for the registration to be written now
}

// New reads credentials and roots and starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("conn-worker: %w", err)
	}
	creds, err := cfg.Credentials.load(deps.served()...)
	if err != nil {
		return nil, fmt.Errorf("conn-worker: %w", err)
	}
	roots, err := cfg.Edge.roots()
	if err != nil {
		return nil, fmt.Errorf("conn-worker: edge: %w", err)
	}
	s := &Service{
		cfg: cfg, choices: newChoices(cfg.Edge), version: deps.Version, store: deps.Store, localConfig: deps.LocalConfig,
		settle: make(chan struct{}, 1), announce: make(chan chan error),
	}
	if s.metrics, err = newMetrics(deps.Registerer, s.connected); err != nil {
		return nil, fmt.Errorf("conn-worker metrics: %w", err)
	}
	s.storeUp.Store(true)
	s.name()
	s.log = deps.Logger.With(slog.String(logkey.WorkerID, string(s.id)))
	if s.choices.choice == protocol.H2Mux {
		s.log.Warn("protocol h2mux is retired, http2 is used instead")
	}
	localIP, family := cfg.Edge.local()
	s.family = family
	carrier := deps.Carrier
	var applier relay.Applier = relay.Unsupported{}
	if deps.Applier != nil {
		applier = deps.Applier
	}
	if carrier == nil {
		if s.balancer, err = cfg.Link.balancer(s.log); err != nil {
			return nil, fmt.Errorf("conn-worker: link: %w", err)
		}
		carrier = s.balancer
		way, err := cfg.Link.balancer(s.log)
		if err != nil {
			return nil, fmt.Errorf("conn-worker: link: %w", err)
		}
		s.pusher = push.New(way, s.log)
		applier = s.pusher
	}
	s.dialer = dial.New(dial.Config{
		QUICTLS: quic.ClientTLS(roots, cfg.PostQuantum), HTTP2TLS: h2.ClientTLS(roots, cfg.PostQuantum),
		QUIC: cfg.QUIC.settings(cfg.Streams.MaxSession), HTTP2: h2.ConnectorSettings(), LocalIP: localIP, Applier: applier,
	})
	s.relay = relay.New(relay.Config{
		Datagrams: s.datagrams(carrier),
		Carrier:   carrier, Applier: applier, Observer: s.metrics, Logger: s.log, RPCTimeout: cfg.RPCTimeout,
		Limits: cfg.Streams.limits(),
	})
	for _, c := range creds {
		s.keepers = append(s.keepers, newKeeper(s, c))
	}
	return s, nil
}

// datagrams makes the way of datagrams to the proxies.
func (s *Service) datagrams(carrier link.Carrier) func(transport.Session, link.Meta, relay.Options) relay.Datagrams {
	c := udp.Config{
		Carrier: carrier, Observer: s.metrics, Logger: s.log, RPCTimeout: s.cfg.RPCTimeout,
		Limits: udp.Limits{Sessions: s.cfg.Datagrams.MaxSessions, QueueBytes: s.cfg.Datagrams.QueueBytes},
	}
	if s.balancer != nil {
		c.Proxies = s.balancer.Proxies
	}
	all := udp.New(c)
	return func(session transport.Session, meta link.Meta, o relay.Options) relay.Datagrams {
		version := udp.V2
		if o.DatagramV3 {
			version = udp.V3
		}
		return all.Session(session, meta, version)
	}
}

func (d Deps) served() []served {
	var out []served
	for _, c := range d.Credentials {
		out = append(out, served{c, d.FromToken})
	}
	return out
}

// name gives the worker the names that the configuration leaves open.
func (s *Service) name() {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	s.host = cmp.Or(s.cfg.Host, host)
	s.id = tunnel.WorkerID(s.cfg.ID)
	if s.id == "" {
		s.id = tunnel.WorkerID(fmt.Sprintf("%s-%08x", host, rand.Uint32()))
	}
}

// record is the worker's registration.
func (s *Service) record() fleet.Worker {
	w := fleet.Worker{ID: s.id, Host: s.host, Version: s.version, Capacity: s.cfg.Capacity, Draining: s.draining.Load()}
	if !s.canServe() {
		w.Capacity = 0
	}
	for _, k := range s.keepers {
		ref := fleet.TunnelRef{
			ID: k.cred.TunnelID, AccountHash: credential.AccountHash(k.cred.AccountTag), Pool: s.cfg.Edge.Pool,
			Region: k.cred.Endpoint, IPVersion: s.family.String(), Connections: uint8(s.cfg.Edge.Connections),
		}
		ref.Protocol = s.choices.demanded()
		w.Tunnels = append(w.Tunnels, ref)
	}
	return w
}

// canServe reports whether flows have somewhere to go. A worker that cannot serve asks for no slot: visitors who reached
// it would get an error where another worker could have answered.
func (s *Service) canServe() bool { return s.balancer == nil || s.proxies.Load() > 0 }

// Ready says why the worker serves nothing, or nil.
func (s *Service) Ready() error {
	if s.draining.Load() {
		return tunnel.ErrDraining
	}
	if !s.canServe() {
		return errNoProxy
	}
	var errs []error
	for _, k := range s.keepers {
		if err := k.ready(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) < len(s.keepers) {
		return nil
	}
	return errors.Join(errs...)
}

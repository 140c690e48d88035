package discovery

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
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
	// Network calls a function after each change of the network, until its context ends; nil watches nothing.
	Network func(ctx context.Context, logger *slog.Logger, changed func())
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
	Subscribe(ctx context.Context, topic string, deliver func(message []byte))
}

// resignTimeout bounds the call that gives up the lead at the end.
const resignTimeout = 2 * time.Second

// Service is one replica.
type Service struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	metrics *metrics
	client  *resolve.Client
	refused refusals
	copy    *poolCopy
	// network is written to when the network changed.
	network chan struct{}
	watch   func(ctx context.Context, logger *slog.Logger, changed func())
	// machine decides; it belongs to the loop of Run.
	machine *retain.Machine

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
	s := &Service{
		cfg: cfg, store: deps.Store, log: deps.Logger, metrics: m, state: state{problem: retain.ErrStarting}, network: make(chan struct{}, 1),
		watch:   deps.Network,
		copy:    openCopy(cfg, deps.Logger),
		machine: retain.NewMachine(retain.Config{ID: newID(), Name: cfg.Name, Refresh: cfg.Refresh, Random: mathrand.Int64N}),
	}
	client := resolve.Config{
		Timeout: cfg.Timeout, Changed: s.breakerChanged, Refused: s.refused.add,
		Gone: func(server string) { m.breakers.DeleteLabelValues(server) },
	}
	if cfg.PrivateAddresses == RefusePrivate {
		client.PublicDomain = defaultDomain
	}
	if cfg.Resolver != SystemResolver {
		client.Server = cfg.Resolver
	}
	if cfg.fallsBackToDoT() {
		client.DoTAddr = cfg.DoT.Addr
		if client.DoTTLS, err = cfg.DoT.tls(deps.Files); err != nil {
			return nil, fmt.Errorf("discovery: dot: %w", err)
		}
	}
	s.client = resolve.New(client)
	return s, nil
}

// breakerChanged shows that queries to a name server stop for a while, or go on.
func (s *Service) breakerChanged(server string, from, to resolve.State) {
	s.metrics.breakers.WithLabelValues(server).Set(float64(to))
	s.log.Info("name server breaker changed", slog.String(logkey.Resolver, server),
		slog.String(logkey.From, from.String()), slog.String(logkey.To, to.String()))
}

// NetworkChanged says that name servers that failed may work now, and that the edge's addresses may be others: the leader looks up soon,
// as after a hint.
func (s *Service) NetworkChanged() {
	select {
	case s.network <- struct{}{}:
	default: // one that is not yet handled is enough
	}
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

// Run publishes while it leads and stands by otherwise, until ctx ends. It then gives the lead up.
func (s *Service) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if s.watch != nil {
		var watch sync.WaitGroup
		defer watch.Wait()
		watched, end := context.WithCancel(ctx)
		defer end()
		watch.Go(func() { s.watch(watched, s.log, s.NetworkChanged) })
	}
	asked := make(chan struct{}, 1)
	s.store.Subscribe(ctx, retain.LookTopic(s.cfg.Name), func([]byte) {
		select {
		case asked <- struct{}{}:
		default: // one that is not yet handled is enough
		}
	})
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
			s.handle(ctx, retain.Due{}, timer)
		case <-asked:
			s.handle(ctx, retain.Asked{}, timer)
		case <-s.network:
			s.client.Reset()
			s.handle(ctx, retain.Asked{}, timer)
		}
		if ctx.Err() != nil {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	s.handle(ctx, retain.Stopped{}, timer)
	return nil
}

// handle lets the machine decide about an event, and carries out what it decides, until it waits.
func (s *Service) handle(ctx context.Context, e retain.Event, timer *time.Timer) {
	for e != nil {
		var err error
		e, err = s.carryOut(ctx, s.machine.Step(time.Now(), e), timer)
		if err != nil && errors.Is(ctx.Err(), context.Canceled) {
			return // the end of ctx is no failure of the store
		}
	}
}

// carryOut does what the machine decided, and returns the reply of the call among the actions, or nil if there is none.
func (s *Service) carryOut(ctx context.Context, actions []retain.Action, timer *time.Timer) (reply retain.Event, err error) {
	for _, a := range actions {
		if w, ok := a.(retain.Wait); ok {
			timer.Reset(w.For)
			continue
		}
		if s.note(ctx, a) {
			continue
		}
		reply, err = s.call(ctx, a)
	}
	return reply, err
}

// call calls the store, or looks the edge up. The error is that of the reply.
func (s *Service) call(ctx context.Context, a retain.Action) (reply retain.Event, err error) {
	switch a := a.(type) {
	case retain.TakeLead:
		leads, err := s.store.TakeLead(ctx, a.Role, a.Holder, a.TTL)
		return retain.LeadReply{Leading: leads, Err: err}, err
	case retain.Lookup:
		ctx, cancel := context.WithTimeout(ctx, a.Within)
		defer cancel()
		reply := s.lookupOrCopy(ctx)
		return reply, reply.Err
	case retain.ReadPool:
		pool, err := s.store.Pool(ctx, a.Name)
		return retain.PoolReply{Pool: pool, Err: err}, err
	case retain.Publish:
		version, err := s.store.PublishPool(ctx, a.Name, a.Pool)
		return retain.PublishReply{Version: version, Err: err}, err
	case retain.Hint:
		err := s.store.Hint(ctx, a.Topic)
		return retain.HintReply{Err: err}, err
	case retain.ReadLeader:
		leader, err := s.store.Leader(ctx, a.Role)
		return retain.LeaderReply{Leader: leader, Err: err}, err
	case retain.ResignLead:
		err := s.store.ResignLead(ctx, a.Role, a.Holder)
		return retain.ResignReply{Err: err}, err
	}
	return nil, nil //nolint:nilnil // Done, which needs nothing
}

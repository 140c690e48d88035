package supervisor

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/supervisor/internal/api"
)

// Fleet is what the supervisor reads of the deployment.
type Fleet interface {
	Fleet(ctx context.Context, marks uint64) (fleet.Listing, error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
	Connector(ctx context.Context, id tunnel.ID) (tunnel.ConnectorID, error)
	EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error)
	Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (lease.Table, error)
}

// Slots is what the supervisor reads and writes of slots.
type Slots interface {
	SlotsUnder(ctx context.Context, term lease.Term, id tunnel.ID, connector tunnel.ConnectorID) (lease.Table, error)
	Proved(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (bool, error)
	GrantUnder(
		ctx context.Context, term lease.Term, g lease.Grant, expect tunnel.Epoch, ttl time.Duration, ended ...lease.Ended,
	) (lease.Grant, error)
	ReleaseUnder(ctx context.Context, term lease.Term, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error
}

// Election shares the lead among the supervisors.
type Election interface {
	TakeShare(ctx context.Context, role, member string, seen lease.Term, ttl time.Duration, join bool) (lease.Share, error)
	LeaveShare(ctx context.Context, role, member string) error
}

// Wishes is what operators desire of a deployment, with their commands.
type Wishes interface {
	Desired(ctx context.Context, known uint64) (command.Read, error)
	RestoreDesired(ctx context.Context, id tunnel.ID, d desired.Document) error
	RestoreDrained(ctx context.Context, id tunnel.WorkerID, m desired.Mark) error
	Answer(ctx context.Context, id string, r desired.Result) (desired.Status, error)
	AskReconnect(ctx context.Context, term lease.Term, slot tunnel.Slot, epoch tunnel.Epoch, id string) error
}

// Changes is what operators change through a supervisor.
type Changes interface {
	SetDesired(
		ctx context.Context, id tunnel.ID, expect uint64, spec desired.Spec, author string, poolChanges bool,
	) (version uint64, err error)
	SetDrained(ctx context.Context, id tunnel.WorkerID, expect uint64, drained bool, author string) (version uint64, err error)
	Submit(ctx context.Context, c desired.Command, ttl time.Duration) (desired.Status, error)
	Result(ctx context.Context, id string) (desired.Status, error)
}

// Operators is both of it.
type Operators interface {
	Wishes
	Changes
}

// Signals wakes other processes.
type Signals interface {
	MarkDesired(ctx context.Context) error
	Notify(ctx context.Context, id tunnel.WorkerID, tunnels []tunnel.ID) error
	NewGeneration(ctx context.Context) error
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Store is the part of the shared state that a supervisor uses.
type Store interface {
	Fleet
	Slots
	Election
	Operators
	Signals
}

// Configurations are the versions of tunnels' configurations, and the proxies that follow them.
type Configurations = api.Configurations

// Deps are the dependencies of a supervisor.
type Deps struct {
	Store  Store
	Logger *slog.Logger
	// Registerer may be nil: then nothing is measured.
	Registerer prometheus.Registerer
	// Configurations has the versions of tunnels' configurations, and RuleKey seals them; without both none are offered.
	Configurations Configurations
	RuleKey        *rules.Key
	// Records has the tokens and journals of the ops API; without it there are none.
	Records api.Records
}

// resignTimeout bounds the calls that give up the lead at the end.
const resignTimeout = time.Second

// Errors of Ready.
var (
	errStarting = pass.ErrStarting
	errDown     = pass.ErrDown
)

// Service is a supervisor.
type Service struct {
	cfg Config
	// member is the name of this process among those that share the lead.
	member  string
	store   Store
	log     *slog.Logger
	metrics *metrics
	api     *api.API
	// machine decides; it belongs to the loop of Run.
	machine *pass.Machine

	mu sync.Mutex
	// state is why the supervisor is not ready, or nil.
	state error
	// seen is the last world that was read; it is replaced, never changed.
	seen plan.World
	lead bool
	// shares are the shards and their supervisors, as far as this one knows.
	shares pass.SharesChanged
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
	member := id + api.MemberSeparator + fmt.Sprintf("%08x", rand.Uint32())
	s := &Service{
		cfg: cfg, member: member, store: deps.Store, metrics: m, state: errStarting,
		log:     deps.Logger.With(slog.String(logkey.SupervisorID, id)),
		machine: pass.NewMachine(pass.Config{ID: member, Connections: cfg.Connections, Random: rand.IntN, Entropy: cryptorand.Reader}),
	}
	s.api = api.New(api.Deps{
		ID: id, Store: deps.Store, Configurations: deps.Configurations, Key: deps.RuleKey, Records: deps.Records, Logger: s.log,
		Connections: cfg.Connections, View: s.view,
	})
	return s, nil
}

// Run plans until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	beside.Go(func() { s.api.Run(ctx) })
	defer beside.Wait()
	wake, pools := s.store.Watch(ctx, pass.Topics()...), s.store.Watch(ctx, lease.TopicPools)
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	rest := time.NewTimer(0)
	rest.Stop()
	defer rest.Stop()
	for e := pass.Event(pass.Started{}); ; {
		reply, err := s.carryOut(ctx, s.machine.Step(time.Now(), e), rest)
		if err != nil && ctx.Err() != nil {
			break // the end of ctx is no failure of the store
		}
		if e = reply; e != nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-rest.C:
			e = pass.Rested{}
		case <-wake:
			e = pass.Hinted{}
		case <-pools:
			e = pass.Hinted{Pools: true}
		case <-tick.C:
			e = pass.Ticked{}
		}
		if e == nil {
			break
		}
	}
	resigning, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	for e := pass.Event(pass.Stopped{}); e != nil; {
		e, _ = s.carryOut(resigning, s.machine.Step(time.Now(), e), rest) // the machine gets the error with the reply
	}
	return nil
}

// carryOut does what the machine decided, and returns the reply of the call among the actions, or nil if there is none.
func (s *Service) carryOut(ctx context.Context, actions []pass.Action, rest *time.Timer) (reply pass.Event, err error) {
	for _, a := range actions {
		if r, ok := a.(pass.Rest); ok {
			rest.Reset(r.For)
			continue
		}
		if s.note(ctx, a) {
			continue
		}
		reply, err = s.call(ctx, a)
	}
	return reply, err
}

// call calls the store. The error is that of the reply.
func (s *Service) call(ctx context.Context, a pass.Action) (reply pass.Event, err error) {
	switch a := a.(type) {
	case pass.TakeLead:
		share, err := s.store.TakeShare(ctx, a.Role, a.Holder, a.Seen, a.TTL, a.Join)
		return pass.LeadReply{Lead: share.Lead, Team: share.Team, Err: err}, err
	case pass.ListWorkers:
		listing, err := s.store.Fleet(ctx, a.Marks)
		return pass.WorkersReply{Listing: listing, Err: err}, err
	case pass.ReadPool:
		pool, err := s.store.Pool(ctx, a.Name)
		return pass.PoolReply{Pool: pool, Err: err}, err
	case pass.ReadConnector:
		id, err := s.store.Connector(ctx, a.Tunnel)
		return pass.ConnectorReply{ID: id, Err: err}, err
	case pass.EnsureConnector:
		id, err := s.store.EnsureConnector(ctx, a.Tunnel, a.Candidate)
		return pass.ConnectorReply{ID: id, Err: err}, err
	case pass.ReadSlots:
		table, err := s.store.SlotsUnder(ctx, a.Term, a.Tunnel, a.Connector)
		return pass.SlotsReply{Records: table.Records, Damaged: table.Damaged, Err: err}, err
	case pass.ReadProved:
		proved, err := s.store.Proved(ctx, a.Tunnel, a.Connector)
		return pass.ProvedReply{Proved: proved, Err: err}, err
	case pass.Grant:
		granted, err := s.store.GrantUnder(ctx, a.Term, a.Grant.Grant, a.Expect, a.TTL, a.Ended...)
		return pass.GrantReply{Granted: granted, Err: err}, err
	case pass.Release:
		err := s.store.ReleaseUnder(ctx, a.Term, a.Slot, a.Worker, a.Epoch)
		return pass.ReleaseReply{Err: err}, err
	case pass.Notify:
		err := s.store.Notify(ctx, a.Worker, a.Tunnels)
		return pass.NotifyReply{Err: err}, err
	case pass.BeginGeneration:
		err := s.store.NewGeneration(ctx)
		return pass.GenerationReply{Err: err}, err
	case pass.Hint:
		err := s.store.Hint(ctx, a.Topic)
		return pass.HintReply{Err: err}, err
	case pass.ResignLead:
		err := s.store.LeaveShare(ctx, a.Role, a.Holder)
		return pass.ResignReply{Err: err}, err
	}
	return s.callForOperators(ctx, a)
}

// callForOperators makes the calls that are about what operators desire.
func (s *Service) callForOperators(ctx context.Context, a pass.Action) (reply pass.Event, err error) {
	switch a := a.(type) {
	case pass.ReadDesired:
		read, err := s.store.Desired(ctx, a.Known)
		return pass.DesiredReply{Same: read.Same, State: read.State, Err: err}, err
	case pass.AskReconnect:
		err := s.store.AskReconnect(ctx, a.Term, a.Slot, a.Epoch, a.Command)
		return pass.ReconnectReply{Err: err}, err
	case pass.AnswerCommand:
		_, err := s.store.Answer(ctx, a.Command, a.Result)
		return pass.AnswerReply{Err: err}, err
	case pass.RestoreDesired:
		err := s.store.RestoreDesired(ctx, a.Tunnel, a.Document)
		return pass.RestoreReply{Err: err}, err
	case pass.RestoreDrained:
		err := s.store.RestoreDrained(ctx, a.Worker, a.Mark)
		return pass.RestoreReply{Err: err}, err
	}
	return nil, nil //nolint:nilnil // Done, which needs nothing
}

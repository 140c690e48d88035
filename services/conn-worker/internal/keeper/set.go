package keeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
)

// DefaultRetries is the default of Config.Retries.
const DefaultRetries = hold.DefaultRetries

// Fleet is what keepers read of the deployment.
type Fleet interface {
	EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
	Workers(ctx context.Context) ([]fleet.Worker, error)
}

// Store is the part of the shared state that keepers use.
type Store interface {
	Fleet
	Report(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID, instance string,
		reports []lease.Report) (lease.Table, error)
	Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error
	// Mark tells the supervisors that something of the tunnels changed.
	Mark(ctx context.Context, tunnels ...tunnel.ID) error
	// Subscribe calls deliver with each message on a topic.
	Subscribe(ctx context.Context, topic string, deliver func(message []byte))
}

// Control tracks whether the store is available.
type Control interface {
	// Observe records the result of a call to the store.
	Observe(ctx context.Context, err error)
	// Up reports whether the store counts as available, Responds whether the last call reached it.
	Up() bool
	Responds() bool
	// Hint wakes the processes that watch the topic.
	Hint(ctx context.Context, topic string)
}

// Dialer makes sessions to the edge; its errors are *tunnel.ConnError.
type Dialer interface {
	Dial(ctx context.Context, slot tunnel.Slot, edge netip.AddrPort, p tunnel.Protocol) (transport.Session, error)
	// LocalIP is the address that packets of the session leave from; the zero value means that it is not known.
	LocalIP(ctx context.Context, s transport.Session) netip.Addr
	// Curves lists the key exchanges that a dial over p offers.
	Curves(p tunnel.Protocol) []tls.CurveID
}

// Serving serves the streams and datagrams of one session.
type Serving = conn.Serving

// Observer receives what the metrics show.
type Observer interface {
	// Dialed counts one dial; the reason is ReasonNone for a success.
	Dialed(reason tunnel.Reason, p tunnel.Protocol)
	// Opened hands over each new session of a slot. It ends without further notice.
	Opened(slot tunnel.Slot, s transport.Session)
	// Called counts a call to the edge that took so long; err is what it failed with.
	Called(m conn.Method, took time.Duration, err error)
	// Turned counts one change of a slot's transport.
	Turned(t protocol.Turn)
}

// Deps are the collaborators of all keepers of a worker.
type Deps struct {
	Store    Store
	Control  Control
	Dialer   Dialer
	Serve    func(s transport.Session, meta link.Meta, datagramV3 bool) Serving
	Observer Observer
	Logger   *slog.Logger
	// LocalConfig returns the JSON that index 0 uploads (docs/spec/wire.md 8.3); it may be nil, and may return nil.
	LocalConfig func() []byte
	// HolderGone is called when a holder has ended and its lease was released.
	HolderGone func()
}

// Config are the settings of all keepers of a worker.
type Config struct {
	// Worker and Version identify the worker in the store and at the edge.
	Worker  tunnel.WorkerID
	Version string
	// Instance is this process of the worker.
	Instance string
	// Pool names the edge pool; Family restricts its addresses.
	Pool   string
	Family edgepool.Family
	// Protocol is the operator's choice; ReturnAfter is the time after a fallback until the preferred transport is tried again.
	Protocol    protocol.Choice
	ReturnAfter time.Duration
	// Features and PostQuantum shape what a registration announces.
	Features    []string
	PostQuantum bool
	// Connections is the number of connections per tunnel that the operator asked for; 0 leaves it to the supervisor.
	Connections uint8
	// GracePeriod bounds a drain, RPCTimeout every call to the edge.
	GracePeriod, RPCTimeout time.Duration
	// Retries is the number of doublings of the longest wait between two attempts.
	Retries int
	// Alone says that no other process uses the store.
	Alone bool
	// Lazy makes the keepers ask the store nothing about tunnels that they have no slot of. New sets it for a worker of many tunnels.
	Lazy bool
}

// eagerMost is the most tunnels of a worker that looks after all of them: with more, what is asked about tunnels that other workers serve
// would be most of the load of the store.
const eagerMost = 16

// Credentials are the credentials of one tunnel.
type Credentials struct {
	tunnel.Credentials
	// FromToken says that they came as a run token, which matters for the choice of the protocol (docs/spec/wire.md 14).
	FromToken bool
}

// Set is the keepers of a worker, one per tunnel.
type Set struct {
	cfg     Config
	deps    Deps
	keepers []*keeper

	shared
}

// shared is what the keepers of a worker have in common.
type shared struct {
	transports *transports
	asking     *asking
	pools      *pools
	marks      *marks
}

// New makes the keepers; Run starts them.
func New(cfg Config, deps Deps, creds []Credentials) *Set {
	if cfg.Protocol == protocol.H2Mux {
		deps.Logger.Warn("protocol h2mux is retired, http2 is used instead")
	}
	cfg.Lazy = len(creds) > eagerMost && cfg.Instance != "" && !cfg.Alone
	s := &Set{cfg: cfg, deps: deps, shared: shared{
		transports: newTransports(cfg.Protocol, cfg.ReturnAfter), asking: newAsking(), pools: newPools(deps.Store), marks: newMarks(deps.Store),
	}}
	for _, c := range creds {
		s.keepers = append(s.keepers, newKeeper(cfg, deps, s.shared, s.wakeHolders, c))
	}
	return s
}

// Run keeps the leases until ctx ends, and waits for all holders, which end with it.
func (s *Set) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	// A supervisor that knows nothing of leases of whole workers tells all of them at once.
	s.deps.Store.Subscribe(ctx, lease.TopicGrants, func([]byte) { s.wakeAll() })
	tasks.Go(func() { s.asking.run(ctx, s.cfg.Pool, s.deps.Control) })
	tasks.Go(func() { s.marks.run(ctx) })
	for _, k := range s.keepers {
		tasks.Go(func() { k.run(ctx) })
	}
	tasks.Wait()
}

// Looked tells the keepers what a renewal of the worker's lease showed, and those of the tunnels that changed that they did.
func (s *Set) Looked(l keep.Looked, changed []tunnel.ID) {
	for _, k := range s.keepers {
		l.News = slices.Contains(changed, k.cred.TunnelID)
		k.tellLook(l)
	}
}

func (s *Set) wakeAll() {
	for _, k := range s.keepers {
		k.wake()
	}
}

// wakeHolders makes the keepers look that may have something to say.
func (s *Set) wakeHolders() {
	for _, k := range s.keepers {
		if !k.asleep() {
			k.wake()
		}
	}
}

// RefuseGrants makes all keepers ignore new grants. The holders stay, so that other workers can take their slots over.
func (s *Set) RefuseGrants(ctx context.Context) {
	for _, k := range s.keepers {
		k.refuseGrants(ctx)
	}
}

// Drain makes all keepers ignore new grants, and all holders unregister and finish their requests.
func (s *Set) Drain(ctx context.Context) {
	for _, k := range s.keepers {
		k.drain(ctx)
	}
}

// Held counts the holders that still run or whose lease has not been released.
func (s *Set) Held() int {
	n := 0
	for _, k := range s.keepers {
		n += k.held()
	}
	return n
}

// Tunnels describes the tunnels for the worker's registration.
func (s *Set) Tunnels() []fleet.TunnelRef {
	var refs []fleet.TunnelRef
	for _, k := range s.keepers {
		refs = append(refs, fleet.TunnelRef{
			ID: k.cred.TunnelID, AccountHash: credential.AccountHash(k.cred.AccountTag), Pool: s.cfg.Pool, Region: k.cred.Endpoint,
			IPVersion: s.cfg.Family.String(), Connections: s.cfg.Connections, Protocol: s.transports.demanded(),
			Named: !k.connector().IsZero(),
		})
	}
	return refs
}

// Pool is the edge pool that was read last; its version is 0 before.
func (s *Set) Pool() edgepool.Pool {
	if p := s.pools.last.Load(); p != nil {
		return *p
	}
	return edgepool.Pool{}
}

// Connections lists the slots that this worker holds, by tunnel and index.
func (s *Set) Connections() []Connection {
	list := []Connection{}
	for _, k := range s.keepers {
		list = append(list, k.connections()...)
	}
	return list
}

// Ready returns why no tunnel is served, or nil when at least one is.
func (s *Set) Ready() error {
	var errs []error
	for _, k := range s.keepers {
		err := k.ready()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ReplaceCredentials uses c for the registrations to come of its tunnel. Connections that are registered stay.
func (s *Set) ReplaceCredentials(c tunnel.Credentials) error {
	for _, k := range s.keepers {
		if k.cred.TunnelID == c.TunnelID {
			k.auth.Store(&c)
			return nil
		}
	}
	return fmt.Errorf("they are of tunnel %s now, which this process does not serve: restart it to serve another tunnel", c.TunnelID)
}

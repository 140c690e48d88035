package udp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Config bounds what flows may use (docs/limits.md).
type Config struct {
	MaxFlows    int           `yaml:"max_flows" usage:"limit of UDP flows through tunnels"`
	TunnelFlows int           `yaml:"max_flows_per_tunnel" usage:"the same for one tunnel; 0 = only max_flows"`
	MoveTimeout time.Duration `yaml:"move_timeout" usage:"how long a UDP flow whose connection is gone waits for another one"`
	RPCTimeout  time.Duration `yaml:"rpc_timeout" usage:"bound of each call about a UDP flow to a connector with datagram v2"`
	KeptBytes   int           `yaml:"kept_bytes" usage:"limit of the payloads that all UDP flows keep until they have certainly been sent"`
	TunnelKept  int           `yaml:"kept_bytes_per_tunnel" usage:"the same for the UDP flows of one tunnel; 0 = only kept_bytes"`
	QueueBytes  int           `yaml:"queue_bytes" usage:"limit of the datagrams that wait for one connection"`
}

// Default holds all default values.
func Default() Config {
	return Config{
		MaxFlows: 16384, TunnelFlows: 8192, MoveTimeout: time.Minute, RPCTimeout: 5 * time.Second,
		KeptBytes: 64 << 20, TunnelKept: 32 << 20, QueueBytes: 1 << 20,
	}
}

// Validate reports every problem, each with its path.
func (c *Config) Validate() error {
	var faults []error
	when := func(bad bool, text string) {
		if bad {
			faults = append(faults, errors.New("udp: "+text))
		}
	}
	when(c.MaxFlows <= 0, "max_flows: not positive")
	when(c.TunnelFlows < 0, "max_flows_per_tunnel: negative")
	when(c.MoveTimeout <= 0, "move_timeout: not positive")
	when(c.RPCTimeout <= 0, "rpc_timeout: not positive")
	when(c.KeptBytes < 0, "kept_bytes: negative")
	when(c.TunnelKept < 0, "kept_bytes_per_tunnel: negative")
	when(c.QueueBytes < datagram.V2MaxDatagram, fmt.Sprintf("queue_bytes: less than %d, one datagram", datagram.V2MaxDatagram))
	return errors.Join(faults...)
}

// Deps are the dependencies of Flows.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Errors of opening a flow. Compare with errors.Is.
var (
	// ErrNoConnection says that the tunnel has no connection that can carry datagrams: none at all, or HTTP/2 only.
	ErrNoConnection = errors.New("no connection of the tunnel can carry datagrams")
	// ErrTooManyFlows says that a limit of this edge or of the connector is reached.
	ErrTooManyFlows = errors.New("too many udp flows")
	// ErrRefused says that the connector did not open the flow.
	ErrRefused = errors.New("connector refused the udp flow")
	// ErrSilent says that no connection responded in time.
	ErrSilent = errors.New("connector did not respond")
	// ErrClosed says that the flow is over.
	ErrClosed = errors.New("udp flow is over")
	// ErrTooLarge says that a payload does not fit into a datagram of the wire, and that the connector takes no fragments. The flow is
	// still usable.
	ErrTooLarge = fmt.Errorf("udp payload: %w", transport.ErrDatagramTooLarge)
)

const (
	// tickEvery is the time between two checks of all connections for silence.
	tickEvery = 100 * time.Millisecond
	// idleEvery is the number of ticks between two checks of all flows for idleness.
	idleEvery = 10
	// maxPings bounds the pings in flight of all tunnels, tunnelPings those of one tunnel.
	maxPings, tunnelPings = 1024, 256
)

// Flows are the UDP flows and pings of one edge, over the connections that it serves.
type Flows struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// tasks are the goroutines of flows, which Run waits for.
	tasks sync.WaitGroup
	// tooLarge bounds how often payloads are logged that a connector cannot take.
	tooLarge rate.Sometimes
	// kept bounds the payload bytes that all flows keep for retransmission.
	kept budget
	// flowQuota and pingQuota count flows and pings in flight per tunnel.
	flowQuota, pingQuota *quota.Counter[tunnel.ID]

	// mu protects the rest. A flow's mu may be locked while mu is held, never the other way round.
	mu      sync.Mutex
	stopped bool
	ctx     context.Context //nolint:containedctx // the lifetime of tasks; Run ends it
	stop    context.CancelCauseFunc
	peers   map[tunnel.ID]map[*registry.Conn]*peer
	flows   map[datagram.ID]*Flow
	pings   map[pingKey]*ping
	// budgets holds the share of kept bytes of each tunnel that has flows.
	budgets map[tunnel.ID]*tunnelBudget
	// changed is closed and replaced when a connection is added.
	changed chan struct{}
}

// New makes Flows without connections.
func New(cfg Config, deps Deps) *Flows {
	ctx, stop := context.WithCancelCause(context.Background()) // flows may start before Run, which ends them
	fs := &Flows{
		cfg: cfg, log: deps.Logger, ctx: ctx, stop: stop, kept: budget{limit: int64(cfg.KeptBytes)},
		flowQuota: quota.NewCounter[tunnel.ID](deps.Registerer, "udp_flows",
			share.Limits{Total: int64(cfg.MaxFlows), PerKey: int64(cfg.TunnelFlows)}),
		pingQuota: quota.NewCounter[tunnel.ID](deps.Registerer, "pings", share.Limits{Total: maxPings, PerKey: tunnelPings}),
		tooLarge:  rate.Sometimes{Interval: time.Minute},
		peers:     make(map[tunnel.ID]map[*registry.Conn]*peer), flows: make(map[datagram.ID]*Flow),
		pings: make(map[pingKey]*ping), budgets: make(map[tunnel.ID]*tunnelBudget), changed: make(chan struct{}),
	}
	fs.metrics = newMetrics(deps.Registerer, fs.kept.bytes)
	return fs
}

// Run checks flows and connections until ctx ends; then it ends all flows and waits for their goroutines.
func (fs *Flows) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			fs.end()
			return nil
		case now := <-tick.C:
			fs.watch(now)
			if n%idleEvery == 0 {
				fs.expire(now)
			}
		}
	}
}

func (fs *Flows) end() {
	fs.mu.Lock()
	fs.stopped = true
	flows := slices.Collect(maps.Values(fs.flows))
	fs.mu.Unlock()
	fs.stop(ErrClosed)
	for _, f := range flows {
		f.end(ErrClosed, "")
	}
	fs.tasks.Wait()
}

// expire ends idle flows.
func (fs *Flows) expire(now time.Time) {
	fs.mu.Lock()
	var idle []*Flow
	for _, f := range fs.flows {
		if f.isIdle(now) {
			idle = append(idle, f)
		}
	}
	fs.mu.Unlock()
	for _, f := range idle {
		f.end(fmt.Errorf("%w: idle for %v", ErrClosed, f.idle), fmt.Sprintf("session idle for %v", f.idle))
	}
}

// task runs f in a goroutine that Run waits for, with a context that ends with Run. After Run it does nothing.
func (fs *Flows) task(f func(ctx context.Context)) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.taskLocked(f)
}

func (fs *Flows) taskLocked(f func(ctx context.Context)) {
	if !fs.stopped {
		fs.tasks.Go(func() { f(fs.ctx) })
	}
}

// Start makes a flow to dst and returns at once. The flow looks for a connection on its own; payloads that are sent before it has
// one are kept. idle 0 means datagram.DefaultIdle. deliver is called with each datagram of the origin, one call at a time per
// connection; it must not block or keep the bytes. Errors: ErrClosed, ErrTooManyFlows, datagram.ErrAddress.
func (fs *Flows) Start(id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (*Flow, error) {
	if !dst.IsValid() || dst.Port() == 0 {
		return nil, fmt.Errorf("udp flow to %v: %w", dst, datagram.ErrAddress)
	}
	if idle <= 0 {
		idle = datagram.DefaultIdle
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.stopped {
		return nil, ErrClosed
	}
	switch fs.flowQuota.Take(id, 1) {
	case share.Granted:
	case share.OverShare:
		return nil, fmt.Errorf("%w: the tunnel has used up its share", ErrTooManyFlows)
	case share.Full:
		return nil, ErrTooManyFlows
	}
	f := newFlow(fs, id, dst, idle, deliver)
	f.keepWithin(fs.budgetLocked(id))
	fs.flows[f.id] = f
	fs.metrics.flows.Inc()
	fs.taskLocked(func(context.Context) { f.seek(0) })
	return f, nil
}

// Open is Start that waits until a connector has accepted the flow, or ctx ends.
func (fs *Flows) Open(ctx context.Context, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (*Flow, error) {
	f, err := fs.Start(id, dst, idle, deliver)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.settled:
		if err := f.Err(); err != nil {
			return nil, err
		}
		return f, nil
	case <-ctx.Done():
		f.Close()
		return nil, context.Cause(ctx)
	}
}

// newID returns a random UUID: version 2 requires one, version 3 accepts any bytes.
func newID() datagram.ID {
	var id datagram.ID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

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

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// Config bounds what flows may take (docs/limits.md).
type Config struct {
	MaxFlows    int           `yaml:"max_flows" usage:"limit of UDP flows through tunnels"`
	MoveTimeout time.Duration `yaml:"move_timeout" usage:"how long a UDP flow whose connection is gone waits for another one"`
	RPCTimeout  time.Duration `yaml:"rpc_timeout" usage:"bound of each call about a UDP flow to a connector with datagram v2"`
	KeptBytes   int           `yaml:"kept_bytes" usage:"limit of the payloads that all UDP flows keep until they have certainly been sent"`
	QueueBytes  int           `yaml:"queue_bytes" usage:"limit of the datagrams that wait for one connection"`
}

// Default holds all default values.
func Default() Config {
	return Config{
		MaxFlows: 16384, MoveTimeout: time.Minute, RPCTimeout: 5 * time.Second, KeptBytes: 64 << 20, QueueBytes: 1 << 20,
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
	when(c.MoveTimeout <= 0, "move_timeout: not positive")
	when(c.RPCTimeout <= 0, "rpc_timeout: not positive")
	when(c.KeptBytes < 0, "kept_bytes: negative")
	when(c.QueueBytes < datagram.V2MaxDatagram, fmt.Sprintf("queue_bytes: less than %d, one datagram", datagram.V2MaxDatagram))
	return errors.Join(faults...)
}

// Deps are what a manager works with.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Errors of opening a flow. Compare with errors.Is.
var (
	// ErrNoConnection says that the tunnel has no connection that can carry datagrams: none at all, or HTTP/2 only.
	ErrNoConnection = errors.New("no connection of the tunnel can carry datagrams")
	// ErrTooManyFlows says that a bound of this edge or of the connector is reached.
	ErrTooManyFlows = errors.New("too many udp flows")
	// ErrRefused says that the connector did not open the flow.
	ErrRefused = errors.New("connector refused the udp flow")
	// ErrSilent says that no connection answered.
	ErrSilent = errors.New("connector did not answer")
	// ErrClosed says that the flow is over.
	ErrClosed = errors.New("udp flow is over")
	// ErrTooLarge says that a payload is larger than the wire carries.
	ErrTooLarge = fmt.Errorf("udp payload of more than %d bytes", datagram.MaxPayload)
)

const (
	// tickEvery is how often flows and connections are looked after.
	tickEvery = 100 * time.Millisecond
	// idleEvery is how often all flows are asked whether they are idle.
	idleEvery = 10
)

// Manager opens flows over the connections that it serves.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// tasks are the goroutines of flows, which Run waits for.
	tasks sync.WaitGroup
	// kept bounds what the flows keep.
	kept budget

	// mu guards the rest. A flow's mu may be taken under it, never the other way round.
	mu      sync.Mutex
	stopped bool
	ctx     context.Context //nolint:containedctx // the life of tasks, from Run
	stop    context.CancelCauseFunc
	peers   map[tunnel.ID]map[*registry.Conn]*peer
	flows   map[datagram.ID]*Flow
	pings   map[pingKey]*ping
	// changed is closed and replaced when a connection comes.
	changed chan struct{}
}

// New makes a manager without connections.
func New(cfg Config, deps Deps) *Manager {
	ctx, stop := context.WithCancelCause(context.Background()) // flows may begin before Run; it ends them
	return &Manager{
		cfg: cfg, log: deps.Logger, metrics: newMetrics(deps.Registerer), ctx: ctx, stop: stop,
		kept: budget{limit: int64(cfg.KeptBytes)}, peers: make(map[tunnel.ID]map[*registry.Conn]*peer), flows: make(map[datagram.ID]*Flow), pings: make(map[pingKey]*ping),
		changed: make(chan struct{}),
	}
}

// Run looks after flows until ctx ends; then it ends all of them and waits for what they do.
func (m *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			m.end()
			return nil
		case now := <-tick.C:
			m.watch(now)
			if n%idleEvery == 0 {
				m.expire(now)
			}
		}
	}
}

func (m *Manager) end() {
	m.mu.Lock()
	m.stopped = true
	flows := slices.Collect(maps.Values(m.flows))
	m.mu.Unlock()
	m.stop(ErrClosed)
	for _, f := range flows {
		f.end(ErrClosed, "")
	}
	m.tasks.Wait()
}

// expire ends idle flows.
func (m *Manager) expire(now time.Time) {
	m.mu.Lock()
	var idle []*Flow
	for _, f := range m.flows {
		if f.isIdle(now) {
			idle = append(idle, f)
		}
	}
	m.mu.Unlock()
	for _, f := range idle {
		f.end(fmt.Errorf("%w: idle for %v", ErrClosed, f.idle), fmt.Sprintf("session idle for %v", f.idle))
	}
}

// task runs f with the manager's life, unless that is over.
func (m *Manager) task(f func(ctx context.Context)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taskLocked(f)
}

func (m *Manager) taskLocked(f func(ctx context.Context)) {
	if !m.stopped {
		m.tasks.Go(func() { f(m.ctx) })
	}
}

// Start makes a flow to dst, which looks for a connection by itself: payloads may be sent at once, and are kept until
// there is one. idle 0 means the wire's default. deliver gets the answers, one call at a time per connection; it must not
// block, and the bytes are its own only during the call.
func (m *Manager) Start(id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (*Flow, error) {
	if !dst.IsValid() || dst.Port() == 0 {
		return nil, fmt.Errorf("udp flow to %v: %w", dst, datagram.ErrAddress)
	}
	if idle <= 0 {
		idle = datagram.DefaultIdle
	}
	f := newFlow(m, id, netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port()), idle, deliver)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.stopped:
		return nil, ErrClosed
	case len(m.flows) >= m.cfg.MaxFlows:
		return nil, ErrTooManyFlows
	}
	m.flows[f.id] = f
	m.metrics.flows.Inc()
	m.taskLocked(func(context.Context) { f.seek(0) })
	return f, nil
}

// Open is Start that waits until the connector has answered.
func (m *Manager) Open(ctx context.Context, id tunnel.ID, dst netip.AddrPort, idle time.Duration, deliver func([]byte)) (*Flow, error) {
	f, err := m.Start(id, dst, idle, deliver)
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

// newID is a random UUID: version 2 wants one, version 3 takes anything.
func newID() datagram.ID {
	var id datagram.ID
	_, _ = rand.Read(id[:]) // it ends the process rather than fail
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// toy is a program that does what a test says.
type toy struct {
	env   *Env
	start func(e *Env)
	stop  func(e *Env)
}

func (t *toy) Start(e *Env) {
	t.env = e
	if t.start != nil {
		t.start(e)
	}
}

func (t *toy) Stop() {
	if t.stop != nil {
		t.stop(t.env)
		return
	}
	t.env.Exit()
}

// publisher is a discovery that publishes what DNS gives, every five seconds.
func publisher(s DiscoverySpec) Actor {
	var round func(e *Env)
	round = func(e *Env) {
		s.Lookup(func(p edgepool.Pool, err error) {
			if r, bad := command.PublishPool(s.Pool, p); err == nil && bad == nil {
				Call(e, r, func(uint64, error) {})
			}
			e.After(5*time.Second, "round", func() { round(e) })
		})
	}
	return &toy{start: round}
}

// toys are programs of which only the workers do anything of their own, by id.
func toys(workers map[string]func(e *Env)) *Programs {
	return &Programs{
		Worker:     func(s WorkerSpec) Actor { return &toy{start: workers[s.ID]} },
		Supervisor: func(SupervisorSpec) Actor { return &toy{} },
		Discovery:  publisher,
	}
}

var (
	tunnelOne    = tunnel.ID{0: 1, 15: 1}
	connectorOne = tunnel.ConnectorID{0: 0xaa}
	connectorTwo = tunnel.ConnectorID{0: 0xbb}
)

// small is a deployment of two workers on two hosts, one tunnel of two connections, two edges, and one of everything else.
func small() Spec {
	r := engine.New(3, engine.NewTrace(false)).Rand("small")
	s := NewSpec(r)
	s.Tunnels, s.Connections = []tunnel.ID{tunnelOne}, 2
	s.Supervisors, s.Discoveries = s.Supervisors[:1], s.Discoveries[:1]
	s.Workers = s.Workers[:2]
	for i := range s.Workers {
		s.Workers[i].Tunnels = slices.Clone(s.Workers[i].Tunnels[:1])
		s.Workers[i].Legacy = false
	}
	s.Supervisors[0].Legacy, s.Supervisors[0].Alone = false, false
	s.StoreLatency, s.EdgeLatency = time.Millisecond, 10*time.Millisecond
	return s
}

// play runs toys in the small deployment with a plan, for a time.
func play(t *testing.T, p *Programs, plan []Fault, until time.Duration) *Cluster {
	t.Helper()
	c := newCluster(1, small(), engine.NewTrace(true), Options{Programs: p, Interpreter: memstore.NewInterpreter()})
	c.inject(plan)
	for c.engine.Step(until) {
		c.checker.step()
	}
	return c
}

func slotOf(connector tunnel.ConnectorID, index tunnel.ConnIndex) tunnel.Slot {
	return tunnel.Slot{Tunnel: tunnelOne, Connector: connector, Index: index}
}

// addrOf is an address of the small deployment: the n-th of a region.
func addrOf(region, n int) tunnel.EdgeAddr {
	s := small()
	p := s.pool()
	return tunnel.EdgeAddr{Addr: p.Regions[region].V4[n], Region: p.Regions[region].Name}
}

// connect makes a process dial and register once, and keep the session.
func connect(e *Env, slot tunnel.Slot, epoch tunnel.Epoch, at tunnel.EdgeAddr, then func(*Session)) {
	e.Dial(slot, at, tunnel.QUIC, func(s *Session, err error) {
		if err != nil {
			return
		}
		s.Register(Registration{Slot: slot, Epoch: epoch}, rpcTimeout, func(_ string, err error) {
			if err == nil && then != nil {
				then(s)
			}
		})
	})
}

// serve connects the two indexes of the tunnel, the second after the first.
func serve(e *Env, connector tunnel.ConnectorID) {
	e.After(4*time.Second, "serve", func() {
		connect(e, slotOf(connector, 0), 1, addrOf(0, 0), func(*Session) {
			e.After(2*time.Second, "second", func() { connect(e, slotOf(connector, 1), 1, addrOf(1, 0), nil) })
		})
	})
}

func (c *Cluster) found(i Invariant) bool {
	return slices.ContainsFunc(c.checker.violations, func(v Violation) bool { return v.Invariant == i })
}

// planned sends a grant as a supervisor does.
func planned(e *Env, slot tunnel.Slot, worker string, at tunnel.EdgeAddr, expect tunnel.Epoch, cause string,
	done func(lease.Grant, error),
) {
	r, err := command.Grant(lease.Grant{Slot: slot, Worker: tunnel.WorkerID(worker), Edge: at}, expect, lease.LeaseTTL)
	if err != nil {
		panic(err)
	}
	e.Plan(Planned{Slot: slot, Worker: tunnel.WorkerID(worker), Edge: at, Cause: cause})
	Call(e, r, done)
}

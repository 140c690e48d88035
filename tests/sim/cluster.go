package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// Programs makes the programs of the processes.
type Programs struct {
	Worker     func(WorkerSpec) Actor
	Supervisor func(SupervisorSpec) Actor
	Discovery  func(DiscoverySpec) Actor
}

// Cluster is a deployment while it runs.
type Cluster struct {
	spec     Spec
	programs Programs
	engine   *engine.Engine
	rand     *rand.Rand // draws what belongs to no process
	server   *server
	edges    []*edge
	points   map[netip.AddrPort]*point
	checker  *checker
	operator operator

	// calls counts the commands that the store executed, by the role of the process that sent them.
	calls map[Role]int
	// processes are all lives of all processes, in the order of their starts.
	processes []*Env
	lives     map[string]int
	ports     uint16 // the last one that a TCP connection used

	// What is wrong now.
	rules         []*rule
	behaviours    []*behaviour
	noEdge, noUDP []string // hosts
	dns           []*Fault // of DNS
	// active are the faults that have begun and not ended, by their place in the plan.
	active []int
}

// newCluster makes a deployment and schedules the starts of its processes.
func newCluster(seed uint64, spec Spec, trace *engine.Trace, o Options) *Cluster {
	c := &Cluster{
		spec: spec, programs: *o.Programs, engine: engine.New(seed, trace), points: map[netip.AddrPort]*point{},
		lives: map[string]int{}, calls: map[Role]int{}, operator: newOperator(),
	}
	c.rand = c.engine.Rand("cluster")
	c.checker = newChecker(c)
	c.server = &server{cluster: c, db: o.Interpreter.NewStore(c.engine.Now().UnixMicro()), saved: map[int]memstore.Snapshot{}}
	for _, es := range spec.Edges {
		e := &edge{name: es.Name}
		c.edges = append(c.edges, e)
		for _, a := range es.Addrs {
			c.points[a] = &point{addr: tunnel.EdgeAddr{Addr: a, Region: es.Region}, edge: e}
		}
	}
	for i := range spec.Discoveries {
		c.startSoon(func() { c.startDiscovery(&spec.Discoveries[i]) })
	}
	for i := range spec.Supervisors {
		c.startSoon(func() { c.startSupervisor(&spec.Supervisors[i]) })
	}
	for i := range spec.Workers {
		c.startSoon(func() { c.startWorker(&spec.Workers[i]) })
	}
	return c
}

func (c *Cluster) startSoon(start func()) {
	c.engine.After(between(c.rand, 0, 3*time.Second), "start", start)
}

func (c *Cluster) startWorker(s *WorkerSpec) *Env {
	e := c.newEnv(RoleWorker, s.ID, s.Host)
	for _, t := range s.Tunnels {
		e.serves = append(e.serves, t.ID)
	}
	c.start(e, c.programs.Worker(*s))
	return e
}

func (c *Cluster) startSupervisor(s *SupervisorSpec) *Env {
	e := c.newEnv(RoleSupervisor, s.ID, s.Host)
	c.start(e, c.programs.Supervisor(*s))
	return e
}

func (c *Cluster) startDiscovery(s *DiscoverySpec) *Env {
	e := c.newEnv(RoleDiscovery, s.ID, s.Host)
	spec := *s
	spec.Lookup = func(done func(edgepool.Pool, error)) {
		e.After(between(e.net, time.Millisecond, 100*time.Millisecond), "lookup done", func() {
			p, err := c.resolve()
			p.FetchedAt = e.Now()
			done(p, err)
		})
	}
	c.start(e, c.programs.Discovery(spec))
	return e
}

// newEnv makes the next life of a process.
func (c *Cluster) newEnv(r Role, id, host string) *Env {
	c.lives[id]++
	instance := id
	if n := c.lives[id]; n > 1 {
		instance = fmt.Sprint(id, ".", n)
	}
	return &Env{
		cluster: c, number: len(c.processes), process: c.engine.Spawn(instance), net: c.engine.Rand(instance + "/net"), role: r, id: id,
		host: host,
	}
}

func (c *Cluster) start(e *Env, a Actor) {
	e.actor = a
	c.processes = append(c.processes, e)
	c.checker.dirty = true
	e.After(0, "start "+e.process.Name(), func() { a.Start(e) })
}

// kill ends a process at once, without a word.
func (c *Cluster) kill(e *Env) {
	if !e.process.Alive() {
		return
	}
	e.process.Kill()
	c.ended(e, false)
}

// stop asks a process to end.
func (c *Cluster) stop(e *Env) {
	if !e.process.Alive() || e.stopping {
		return
	}
	e.stopping = true
	c.checker.dirty = true
	e.After(0, "stop", e.actor.Stop)
}

// ended cleans up after a process: one that ended in good order closes its sessions, those of a dead one are noticed by the edges.
func (c *Cluster) ended(e *Env, inOrder bool) {
	for _, ed := range c.edges {
		for _, s := range slices.Clone(ed.sessions) {
			if s.env == e && inOrder {
				s.Close()
			}
		}
	}
	c.listen()
}

// alive lists the running processes of a role, by start.
func (c *Cluster) alive(r Role) []*Env {
	var out []*Env
	for _, e := range c.processes {
		if e.role == r && e.process.Alive() {
			out = append(out, e)
		}
	}
	return out
}

// of lists the running processes with an id.
func (c *Cluster) of(id string) []*Env {
	var out []*Env
	for _, e := range c.processes {
		if e.id == id && e.process.Alive() {
			out = append(out, e)
		}
	}
	return out
}

// sessionsOf lists the registered sessions of one index of a tunnel, of all connectors.
func (c *Cluster) sessionsOf(id tunnel.ID, index tunnel.ConnIndex) []*Session {
	var out []*Session
	for _, e := range c.edges {
		for _, s := range e.sessions {
			if s.registered() && s.slot.Tunnel == id && s.slot.Index == index {
				out = append(out, s)
			}
		}
	}
	return out
}

// name is the short name of a slot: the number of the tunnel, the start of the connector's id, the index.
func name(s tunnel.Slot) string {
	return fmt.Sprintf("t%d/%s/%d", s.Tunnel[0], s.Connector.String()[:4], s.Index)
}

package sim

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

var errLookup = errors.New("lookup failed: server misbehaving")

// inject schedules the plan.
func (c *Cluster) inject(plan []Fault) {
	for i := range plan {
		f := &plan[i]
		if f.Kind == Restored {
			c.engine.At(time.Duration(f.At-f.By), "save", func() { c.server.saved[i] = c.server.db.Snapshot() })
		}
		c.engine.At(time.Duration(f.At), "fault "+string(f.Kind), func() { c.begin(i, f) })
	}
}

// begin applies a fault, and schedules its end.
func (c *Cluster) begin(i int, f *Fault) {
	c.engine.Note("-", f.String())
	c.checker.faulted(f)
	undo := c.apply(i, f)
	c.active = append(c.active, i)
	c.listen()
	c.engine.After(time.Duration(f.For), "end of "+string(f.Kind), func() {
		if undo != nil {
			undo()
		}
		c.active = slices.DeleteFunc(c.active, func(o int) bool { return o == i })
		c.checker.mended()
		c.listen()
	})
}

// apply makes a fault happen. The result ends it; nil has nothing to end.
func (c *Cluster) apply(i int, f *Fault) (undo func()) {
	switch f.Kind {
	case LoseRequest, LoseReply, Late, Delay, Cut:
		return c.disturb(f)
	case ReadOnly, OutOfMemory, Loading, ShardDown, Emptied, Restored, Failover:
		return c.breakStore(i, f)
	case Pause, Kill, Restart, Double, DrainWorker, Rolling, Join:
		return c.breakProcess(f)
	case PoolShrinks, PoolEmpty, PoolFails, PoolFamily:
		return with(&c.dns, f)
	case HostUDP:
		return with(&c.noUDP, f.Target)
	case HostEdge:
		return with(&c.noEdge, f.Target)
	case WishPaused, WishFewer, WishWeight, WishDrain, WishProtocol, OrderMove, OrderReconnect:
		return c.operate(i, f)
	case BadSlot, BadWorker, BadPool, BadConnector, BadLead, Future:
		c.damage(f)
		return nil
	default:
		return c.breakEdge(f)
	}
}

// with adds an item to a list until it is undone. Items may be there more than once.
func with[T comparable](list *[]T, item T) (undo func()) {
	*list = append(slices.Clone(*list), item)
	return func() {
		if i := slices.Index(*list, item); i >= 0 {
			*list = slices.Delete(slices.Clone(*list), i, i+1)
		}
	}
}

// disturb puts a rule on the way to the store.
func (c *Cluster) disturb(f *Fault) (undo func()) {
	r := &rule{chance: 1}
	if f.Chance > 0 {
		r.chance = f.Chance
	}
	if f.Target != "" {
		r.instances = []string{f.Target}
	}
	if f.Op != "" {
		r.ops = []string{f.Op}
	}
	switch f.Kind {
	case LoseRequest:
		r.loseRequest = true
	case LoseReply:
		r.loseReply = true
	case Late:
		r.least, r.delay = callTimeout, 10*time.Second
	case Delay:
		r.delay = time.Duration(f.By)
	default:
		r.cut = true
		c.breakWatches(f)
	}
	return with(&c.rules, r)
}

// breakWatches ends the subscriptions of processes that are cut off.
func (c *Cluster) breakWatches(f *Fault) {
	if f.Op != "" || f.Chance != 0 {
		return
	}
	for _, e := range c.processes {
		if f.Target != "" && e.id != f.Target {
			continue
		}
		for _, w := range e.watches {
			c.drop(w)
		}
	}
}

func (c *Cluster) breakStore(i int, f *Fault) (undo func()) {
	s := c.server
	switch f.Kind {
	case ShardDown:
		return with(&s.shards, c.tunnelPart(f.Target))
	case Emptied:
		s.db.Flush()
		s.lost()
	case Restored:
		if saved, found := s.saved[i]; found {
			s.db.Restore(saved)
			s.lost()
		}
	case Failover:
		s.db.SetNow(c.engine.Now().UnixMicro())
		s.db.Failover(f.N, time.Duration(f.By).Microseconds())
		s.setMode(s.mode)
		s.lost()
	default:
		modes := map[Kind]memstore.Mode{ReadOnly: memstore.ReadOnly, OutOfMemory: memstore.OutOfMemory, Loading: memstore.Loading}
		s.setMode(modes[f.Kind])
		if f.Kind == Loading {
			c.dropWatches()
		}
		return func() { s.setMode(memstore.Healthy) }
	}
	return nil
}

// tunnelPart is the id of a tunnel, as keys contain it, of its short name.
func (c *Cluster) tunnelPart(short string) string {
	for _, id := range c.spec.Tunnels {
		if shortName(id) == short {
			return id.String()
		}
	}
	return short
}

// resolve is what DNS gives now: the latest fault of it decides.
func (c *Cluster) resolve() (edgepool.Pool, error) {
	full := c.spec.pool()
	if len(c.dns) == 0 {
		return full, nil
	}
	switch f := c.dns[len(c.dns)-1]; f.Kind {
	case PoolEmpty:
		return edgepool.Pool{Source: edgepool.SourceSRV}, nil
	case PoolFails:
		return edgepool.Pool{}, errLookup
	case PoolFamily:
		return keepAddrs(full, func(a netip.AddrPort) bool { return a.Addr().Is6() == (f.N%2 == 0) }), nil
	default: // fewer: one region, or every other address
		n := 0
		p := keepAddrs(full, func(netip.AddrPort) bool { n++; return n%2 == 0 })
		if f.N%3 == 0 {
			p.Regions = p.Regions[:1]
		}
		return p, nil
	}
}

func keepAddrs(p edgepool.Pool, keep func(netip.AddrPort) bool) edgepool.Pool {
	var regions []edgepool.RegionPool
	for _, r := range p.Regions {
		var kept []netip.AddrPort
		for _, a := range slices.Concat(r.V4, r.V6) {
			if keep(a) {
				kept = append(kept, a)
			}
		}
		regions = append(regions, edgepool.NewRegion(r.Name, kept))
	}
	p.Regions = regions
	return p
}

// breakEdge makes addresses misbehave, or closes their sessions.
func (c *Cluster) breakEdge(f *Fault) (undo func()) {
	addrs := c.addresses(f.Target)
	if f.Kind == EdgeDrops {
		for _, e := range c.edges {
			for _, s := range slices.Clone(e.sessions) {
				if slices.Contains(addrs, s.at.addr.Addr) {
					c.end(s, closedByEdge())
				}
			}
		}
		return nil
	}
	does := map[Kind]misconduct{
		EdgeRefuses: refuses, EdgeHangs: hangs, EdgeCloses: closesEarly, EdgeFlaps: closesLate, EdgeDuplicate: duplicates,
		EdgeFences: fences, EdgePostpones: postpones, EdgeRejects: rejects, EdgeStops: stops,
	}
	b := &behaviour{addrs: addrs, does: does[f.Kind], retryAfter: time.Duration(f.By)}
	return with(&c.behaviours, b)
}

// addresses lists the addresses that a target names: one, those of an edge, those of a region, or all.
func (c *Cluster) addresses(target string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range c.spec.Edges {
		for _, a := range e.Addrs {
			if target == "" || target == e.Name || target == string(e.Region) || target == a.String() {
				out = append(out, a)
			}
		}
	}
	return out
}

// count reports how many faults are active.
func (c *Cluster) count() int { return len(c.active) }

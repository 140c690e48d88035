package plan

import (
	"net/netip"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Cause says in a word why a slot is granted or released.
type Cause string

// The causes.
const (
	CauseFree      Cause = "free"      // nobody holds the slot
	CauseExpired   Cause = "expired"   // its lease ran out
	CauseGone      Cause = "gone"      // its worker's registration ran out
	CauseDraining  Cause = "draining"  // its worker drains
	CauseAddress   Cause = "address"   // its edge address failed
	CauseWorker    Cause = "worker"    // its worker failed too often
	CauseRebalance Cause = "rebalance" // another worker has room
	CauseRegion    Cause = "region"    // all slots are in one region
	CauseProtocol  Cause = "protocol"  // its worker prefers another protocol
	CauseUnwanted  Cause = "unwanted"  // fewer connections are desired
	CausePaused    Cause = "paused"    // the tunnel is paused
	CauseWeight    Cause = "weight"    // its worker shall have no connections of the tunnel
	CausePool      Cause = "pool"      // another edge pool is desired
	CauseCommand   Cause = "command"   // an operator asked for it
)

// Action is one write to the store: a Grant, a Release or a Reconnect.
type Action interface{ slot() tunnel.Slot }

// Grant gives a slot away.
type Grant struct {
	lease.Grant
	// Expect is the epoch that the decision was made on.
	Expect tunnel.Epoch
	Cause  Cause
}

// Release frees a slot that is no longer wanted; its holder drains.
type Release struct {
	Slot   tunnel.Slot
	Worker tunnel.WorkerID
	Epoch  tunnel.Epoch
	Cause  Cause
}

// Reconnect asks the holder of a slot to make its connection again.
type Reconnect struct {
	Slot   tunnel.Slot
	Worker tunnel.WorkerID
	Epoch  tunnel.Epoch
	// Command is the id of the operator's command.
	Command string
}

func (g Grant) slot() tunnel.Slot     { return g.Slot }
func (r Release) slot() tunnel.Slot   { return r.Slot }
func (r Reconnect) slot() tunnel.Slot { return r.Slot }

// Answer is the result of an operator's command that needs no write to a slot, or no other one.
type Answer struct {
	Command string
	desired.Result
}

// Shortage says that a connector gets fewer connections than desired.
type Shortage struct {
	Tunnel tunnel.ID
	// Desired are wanted, Possible can be had with Addresses edge addresses.
	Desired, Possible, Addresses int
}

// Result is what to do, in order, and what to tell the operator.
type Result struct {
	Actions   []Action
	Shortages []Shortage
	// Answers are results of commands.
	Answers []Answer
}

// Numbers of the judgement.
const (
	// moveAfter is how many failures in a row a worker may have before another one is tried.
	moveAfter = 3
	// leaveAfter is the same for failures that its own retries usually mend.
	leaveAfter = 5
	// movesPerPlan bounds how many slots are rebalanced at once, over all connectors, by all supervisors together.
	movesPerPlan = 8
	// waiting is how many slots may wait for the registration bucket, beyond its burst, when another one is moved.
	waiting = 2
)

// Plan decides what to grant and to release in the world w, and which connectors get too few connections.
func Plan(w World) Result {
	p := planner{load: newLoad(w), most: max(movesPerPlan/max(w.Planners, 1), 1)}
	for _, c := range w.Connectors {
		p.connector(w, c)
	}
	return p.out
}

type planner struct {
	out   Result
	load  load
	moves int
	// most bounds moves.
	most int
}

// connector plans for one connector.
func (p *planner) connector(w World, c Connector) {
	v := newView(w, c, p.load)
	if !c.Lost {
		p.releaseUnwanted(c)
	}
	ordered := p.commands(w, v)
	available := v.pool.Count(c.Family)
	count, _ := edgepool.Cap(c.Connections, available)
	if count < c.Connections {
		p.out.Shortages = append(p.out.Shortages, Shortage{
			Tunnel: c.Tunnel, Desired: c.Connections, Possible: count, Addresses: available,
		})
	}
	if c.Lost {
		return // nothing means anything until the holders had the time to report
	}
	steady := p.slots(v, count) && !ordered
	if !v.unsettled && !v.scattered && p.repair(v) {
		return
	}
	if steady && !v.full() && p.moves < p.most && !p.rebalance(v) && !p.changePool(v) {
		p.convert(v)
	}
}

// slots grants what has to be granted; count is the number of slots that may be placed. It reports whether all slots are connected and stay
// where they are.
func (p *planner) slots(v *view, count int) (steady bool) {
	steady = !v.unsettled && !v.scattered
	for i := range v.Connections {
		if slices.Contains(v.Damaged, tunnel.ConnIndex(i)) {
			steady = false
			continue
		}
		r := v.record(tunnel.ConnIndex(i))
		if r.Worker == "" && i >= count {
			continue
		}
		if r.Status.State != lease.StateConnected || !r.Live {
			steady = false
		}
		if i > 0 && !v.open {
			break // the first connection proves the path before others start
		}
		if g, ok := v.decide(r); ok {
			steady = false
			p.grant(v, r, g)
		}
	}
	return steady
}

// releaseUnwanted frees the slots beyond the desired number. One that is connected stays while no desired one is, so that the tunnel is not
// without a connection; a paused tunnel shall be.
func (p *planner) releaseUnwanted(c Connector) {
	cause, kept := CauseUnwanted, c.Document.Paused
	if c.Document.Paused {
		cause = CausePaused
	}
	connected := func(r lease.Record) bool { return r.Live && r.Worker != "" && r.Status.State == lease.StateConnected }
	for _, r := range c.Records {
		kept = kept || int(r.Slot.Index) < c.Connections && connected(r)
	}
	for _, r := range c.Records { // by index
		switch {
		case int(r.Slot.Index) < c.Connections, !r.Live, r.Worker == "":
		case !kept && connected(r):
			kept = true
		default:
			p.out.Actions = append(p.out.Actions, Release{Slot: r.Slot, Worker: r.Worker, Epoch: r.Epoch, Cause: cause})
		}
	}
}

func (p *planner) grant(v *view, old lease.Record, g Grant) {
	p.out.Actions = append(p.out.Actions, g)
	v.moved(old, g.Grant)
}

// repair moves one connected slot to a better address, make before break: of two slots that came to share one, or when all are in one
// region.
func (p *planner) repair(v *view) bool {
	used := map[netip.AddrPort]bool{}
	regions := map[tunnel.Region]bool{}
	var last lease.Record
	for i := range v.Connections {
		r := v.records[tunnel.ConnIndex(i)]
		if !r.Live || r.Status.State != lease.StateConnected {
			continue
		}
		at := r.InUse()
		if used[at.Addr] && !v.full() && p.improve(v, r, CauseAddress, func(tunnel.EdgeAddr) bool { return true }) {
			return true
		}
		used[at.Addr], regions[at.Region], last = true, true, r
	}
	if len(used) < 2 || len(regions) > 1 || v.onTheWay() > 0 {
		return false
	}
	return p.improve(v, last, CauseRegion, func(e tunnel.EdgeAddr) bool { return !regions[e.Region] })
}

// improve moves a connected slot to a well address that is good, with its worker.
func (p *planner) improve(v *view, r lease.Record, cause Cause, good func(tunnel.EdgeAddr) bool) bool {
	w, known := v.holder(r)
	if !known || w.Draining || w.Capacity == 0 {
		return false
	}
	edge, ok := v.address(r, r.Worker, spare)
	if !ok || !good(edge) || v.health[w.Host].Held(edge.Addr, v.now) {
		return false
	}
	p.grant(v, r, v.grantOf(r, r.Worker, edge, cause))
	return true
}

// rebalance moves one slot of a connector whose slots are all connected, make before break.
func (p *planner) rebalance(v *view) bool {
	move, ok := v.rebalance()
	if !ok {
		return false
	}
	for i := v.Connections - 1; i >= 0; i-- {
		r, found := v.records[tunnel.ConnIndex(i)]
		if !found || r.Worker != move.From {
			continue
		}
		edge, ok := v.address(r, move.To, spare)
		if !ok {
			return false
		}
		p.moves++
		p.grant(v, r, v.grantOf(r, move.To, edge, CauseRebalance))
		return true
	}
	return false
}

// changePool moves one slot that was granted before the operator named another pool, to an address of that pool.
func (p *planner) changePool(v *view) bool {
	for i := range v.Connections {
		r, found := v.records[tunnel.ConnIndex(i)]
		if !found || uint64(r.Epoch) >= v.Document.PoolVersion || v.has(r.InUse()) {
			continue
		}
		edge, ok := v.address(r, r.Worker, spare)
		if !ok {
			return false
		}
		p.moves++
		p.grant(v, r, v.grantOf(r, r.Worker, edge, CausePool))
		return true
	}
	return false
}

// convert moves one slot whose worker prefers another protocol, or that uses another one than the operator's document says, to another
// address, where it connects over that one before it leaves the old connection.
func (p *planner) convert(v *view) {
	_, set := v.Document.Transport()
	for i := range v.Connections {
		r, found := v.records[tunnel.ConnIndex(i)]
		other := set && (v.Protocol == "" && r.Protocol != "" || v.Protocol != "" && r.Status.Protocol != v.Protocol)
		if !found || r.Status.Prefers == "" && !other {
			continue
		}
		edge, ok := v.address(r, r.Worker, spare)
		if !ok {
			return
		}
		p.moves++
		p.grant(v, r, v.grantOf(r, r.Worker, edge, CauseProtocol))
		return
	}
}

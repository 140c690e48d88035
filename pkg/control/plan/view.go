package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/placement"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// load is how many slots of all connectors each registered worker holds, while the plan is made.
type load struct {
	workers map[tunnel.WorkerID]fleet.Worker
	serving Serving
	slots   map[tunnel.WorkerID]int
	// others are the slots of connectors that other supervisors plan for.
	others map[tunnel.WorkerID]int
	// suspects are the slots whose last holders died.
	suspects suspects
	last     starts
}

func newLoad(w World) load {
	l := load{
		workers: map[tunnel.WorkerID]fleet.Worker{}, serving: w.Serving, slots: map[tunnel.WorkerID]int{}, others: map[tunnel.WorkerID]int{},
		suspects: suspects{}, last: starts{},
	}
	if l.serving == nil {
		l.serving = NewServing(w.Workers)
	}
	for _, worker := range w.Workers {
		l.workers[worker.ID] = worker
	}
	for _, c := range w.All() {
		for _, r := range c.Records {
			if r.Live && r.Worker != "" {
				l.slots[r.Worker]++
				l.suspects.put(r.Slot, r.Worker, r.Status.Deaths)
				l.last.put(r)
			}
		}
	}
	l.addOthers(w.Planners)
	return l
}

// addOthers counts the slots of the workers that other supervisors plan for: what each worker said that it holds, less what this one knows.
func (l *load) addOthers(planners int) {
	if planners < 2 {
		return
	}
	for id, w := range l.workers {
		l.others[id] = max(w.Held-l.slots[id], 0)
	}
}

// view is one connector while its plan is made: what was observed, and what was decided since.
type view struct {
	Connector
	load
	records map[tunnel.ConnIndex]lease.Record
	pool    edgepool.Pool
	random  edgepool.Random
	// now and health are World.Now and World.Health.
	now    time.Time
	health map[string]edgepool.Health
	// left are addresses that slots were moved off in this plan: they failed, or the old session still stands.
	left []tunnel.EdgeAddr
	open bool
	// unsettled is World.Unsettled or Connector.Unsettled; unlisted and scattered are those of World.
	unsettled, unlisted, scattered bool
	holds                          map[Hold]time.Time
}

func newView(w World, c Connector, l load) *view {
	v := &view{
		Connector: c,
		load:      l,
		records:   make(map[tunnel.ConnIndex]lease.Record, len(c.Records)),
		pool:      w.Pools[c.Pool],
		random:    w.Random,
		now:       w.Now,
		health:    w.Health,
		open:      c.Proved,
		unsettled: w.Unsettled || c.Unsettled,
		unlisted:  w.Unlisted,
		scattered: w.Scattered,
		holds:     w.Holds,
	}
	for _, r := range c.Records {
		v.records[r.Slot.Index] = r
		if r.Live && r.Status.State == lease.StateConnected {
			v.open = true
		}
	}
	return v
}

// record is a slot's record, or an empty one of a slot that nobody ever held.
func (v *view) record(i tunnel.ConnIndex) lease.Record {
	if r, found := v.records[i]; found {
		return r
	}
	return lease.Record{Grant: lease.Grant{Slot: tunnel.Slot{Tunnel: v.Tunnel, Connector: v.ID, Index: i}}}
}

// candidates are the workers that can serve the tunnel, in a fixed order.
func (v *view) candidates() []placement.Candidate {
	own := map[tunnel.WorkerID]int{}
	for _, r := range v.records {
		if r.Live {
			own[r.Worker]++
		}
	}
	var out []placement.Candidate
	for _, id := range v.serving[v.Tunnel] {
		w, found := v.workers[id]
		if !found {
			continue
		}
		out = append(out, placement.Candidate{
			ID: w.ID, Host: w.Host, Capacity: w.Capacity, Load: v.slots[w.ID], Elsewhere: v.others[w.ID], Own: own[w.ID], Weight: v.weight(w),
			Closed: w.Draining || v.weight(w) == 0, Doubtful: v.doubtful(w),
		})
	}
	slices.SortFunc(out, func(a, b placement.Candidate) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// weight is the share of the tunnel's connections that the operator gives a worker.
func (v *view) weight(w fleet.Worker) int { return v.Document.Weight(w.ID, w.Host) }

// doubtful reports whether the worker could not reach the edge for this tunnel a while ago.
func (v *view) doubtful(w fleet.Worker) bool {
	return v.now.Before(v.holds[Hold{Worker: w.ID, Tunnel: v.Tunnel}]) || v.now.Before(v.holds[Hold{Host: w.Host, Tunnel: v.Tunnel}])
}

// holder is the worker that a record names, if that process runs.
func (v *view) holder(r lease.Record) (fleet.Worker, bool) {
	w, known := v.workers[r.Worker]
	return w, known && (r.Instance == "" || r.Instance == w.Instance)
}

// full reports whether as many slots are on the way as the registration bucket lets through in the next seconds. A planned move waits then:
// its old session would stay beside a holder that must not start yet.
func (v *view) full() bool { return v.onTheWay() >= lease.RegistrationBurst+waiting }

func (v *view) onTheWay() int {
	n := 0
	for _, r := range v.records {
		if r.Live && (r.Status.State == lease.StateGranted || r.Status.State == lease.StateConnecting) {
			n++
		}
	}
	return n
}

func (v *view) rebalance() (placement.Move, bool) { return placement.Rebalance(v.candidates()) }

// moved writes a decision into the view, so that the next one counts it.
func (v *view) moved(old lease.Record, g lease.Grant) {
	if old.Live && old.Worker != "" {
		v.slots[old.Worker]--
	}
	v.slots[g.Worker]++
	v.suspects.put(g.Slot, g.Worker, g.Past.Deaths)
	if edge := old.InUse(); edge != g.Edge {
		v.left = append(v.left, edge)
	}
	v.records[g.Slot.Index] = lease.Record{Grant: g, Live: true, Status: lease.Status{State: lease.StateGranted}}
}

// choice says which address a slot may get.
type choice uint8

const (
	anyAddress choice = iota // its old one if that is free, else another
	preferNew                // another one, else its old one
	spare                    // another one, or none
)

// address picks an edge address for the worker to, one that no other slot of the connector uses. Slots whose lease ran out count as
// users as long as their worker lives, because it keeps the session.
func (v *view) address(r lease.Record, to tunnel.WorkerID, c choice) (tunnel.EdgeAddr, bool) {
	old := r.InUse()
	table := edgepool.Table{Pool: v.pool, Family: v.Family, Used: map[tunnel.ConnIndex]tunnel.EdgeAddr{}, Health: v.doubts(r, to)}
	var taken []netip.AddrPort
	for i, other := range v.records {
		_, known := v.holder(other)
		if i == r.Slot.Index || other.Worker == "" || (!other.Live && !known) {
			continue
		}
		table.Used[i] = other.InUse()
		taken = append(taken, other.Edge.Addr)
	}
	for i, edge := range v.Occupied {
		table.Used[i] = edge
		taken = append(taken, edge.Addr)
	}
	table.Pool.Regions = without(v.pool.Regions, taken)
	req := edgepool.Request{Index: r.Slot.Index}
	if c == anyAddress {
		req.Sticky = old
	} else {
		req.Avoid = old
	}
	edge, err := edgepool.Allocate(v.now, table, req, v.random)
	if err != nil || (c == spare && edge.Addr == old.Addr) {
		return tunnel.EdgeAddr{}, false
	}
	return edge, true
}

// doubts are the addresses to take only if there is no other: addresses that failed lately on the host of the worker to, addresses that
// slots were moved off in this plan, and the granted one of a slot whose holder left it.
func (v *view) doubts(r lease.Record, to tunnel.WorkerID) edgepool.Health {
	held := edgepool.Condition{HeldUntil: v.now.Add(1)}
	h := edgepool.Health{}
	maps.Copy(h, v.health[v.workers[to].Host])
	for _, a := range v.left {
		if !h.Held(a.Addr, v.now) {
			h[a.Addr] = held
		}
	}
	if r.InUse() != r.Edge && !h.Held(r.Edge.Addr, v.now) {
		h[r.Edge.Addr] = held
	}
	return h
}

// has reports whether the pool has an address.
func (v *view) has(edge tunnel.EdgeAddr) bool {
	return slices.Contains(v.pool.Addresses(v.Family), edge)
}

// without is regions less the addresses taken.
func without(regions []edgepool.RegionPool, taken []netip.AddrPort) []edgepool.RegionPool {
	isTaken := func(a netip.AddrPort) bool { return slices.Contains(taken, a) }
	out := slices.Clone(regions)
	for i := range out {
		out[i].V4 = slices.DeleteFunc(slices.Clone(out[i].V4), isTaken)
		out[i].V6 = slices.DeleteFunc(slices.Clone(out[i].V6), isTaken)
	}
	return out
}

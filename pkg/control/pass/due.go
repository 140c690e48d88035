package pass

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// When connectors are read that nobody marked.
const (
	// sweepEvery is the time between two reads of a connector at which nothing happens: a safety net. They are spread over that time.
	sweepEvery = 5 * time.Minute
	// busyEvery is the same while something is on its way, and busyMost after it has been the same for busyReads reads.
	busyEvery = time.Second
	busyMost  = 8 * time.Second
	busyReads = 10
	// readMost is how many connectors one pass reads: those that are marked meanwhile wait for its end.
	readMost = 256
	// poolEvery is how old the edge pools may be, and reviewEvery the last look at what was read: addresses and workers that failed
	// are good again after a while.
	poolEvery   = 10 * time.Second
	reviewEvery = 30 * time.Second
)

// known is a connector as it was read last.
type known struct {
	plan.Connector
	// at is when it was read; same counts the reads in a row that found nothing new.
	at   time.Time
	same int
}

// now is the connector as it is at now if nothing happened since it was read.
func (k known) now(now time.Time) plan.Connector {
	c, passed := k.Connector, now.Sub(k.at)
	c.Records = slices.Clone(c.Records)
	for i := range c.Records {
		c.Records[i].Age += passed
		c.Records[i].Wait -= passed
	}
	return c
}

// follow takes note of the workers that were listed: which connectors there are, and which of them a change of the workers concerns.
func (m *Machine) follow(l fleet.Listing) {
	before, now := byID(m.workers), byID(l.Workers)
	changed := len(before) != len(now)
	m.silent = m.silent[:0]
	for id, w := range now {
		old, found := before[id]
		if !found || !alike(old, w) {
			changed = true
			m.concerns(id)
		}
		if !w.Marks {
			for _, ref := range w.Tunnels {
				m.silent = append(m.silent, ref.ID)
			}
		}
	}
	for id := range before {
		if _, found := now[id]; !found {
			m.concerns(id)
		}
	}
	m.workers = l.Workers
	if changed || m.serving == nil {
		m.serving = plan.NewServing(l.Workers)
	}
	if changed || m.wanted == nil || m.wishes.news || m.reshared {
		m.want(m.mine(plan.Follow(plan.Wanted(l.Workers, m.cfg.Connections), m.wishes.state.Tunnels)))
		m.reshared = false
	}
	m.review = m.review || m.wishes.news
	m.markDue(l)
}

// markDue marks the connectors that somebody marked, or that may have changed without a mark.
func (m *Machine) markDue(l fleet.Listing) {
	for _, c := range m.wishes.commands {
		m.queue.Mark(m.now, c.Tunnel)
	}
	if m.marksLost(l) {
		m.queue.MarkAll(m.now)
	}
	m.marks = l.Marks
	for _, t := range l.Marked {
		m.queue.Mark(m.now, t)
	}
	for _, t := range m.silent {
		m.queue.Mark(m.now, t)
	}
}

// marksLost reports whether the store lost marks: their version went back. Without a mark for long there is none.
func (m *Machine) marksLost(l fleet.Listing) bool { return l.Marks > 0 && l.Marks < m.marks }

func byID(workers []fleet.Worker) map[tunnel.WorkerID]fleet.Worker {
	out := make(map[tunnel.WorkerID]fleet.Worker, len(workers))
	for _, w := range workers {
		out[w.ID] = w
	}
	return out
}

// alike reports whether two records of a worker are the same to a plan.
func alike(a, b fleet.Worker) bool {
	return a.Instance == b.Instance && a.Host == b.Host && a.Capacity == b.Capacity && a.Draining == b.Draining && a.Marks == b.Marks &&
		sameTunnels(a.Tunnels, b.Tunnels)
}

// sameTunnels compares what a plan depends on. A record that was not read again is the same.
func sameTunnels(a, b []fleet.TunnelRef) bool {
	if len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) {
		return true
	}
	return slices.EqualFunc(a, b, func(x, y fleet.TunnelRef) bool {
		x.Named, y.Named = false, false
		return x == y
	})
}

// concerns marks the connectors that a worker has slots of, and makes the whole be reviewed.
func (m *Machine) concerns(id tunnel.WorkerID) {
	m.review = true
	for t, k := range m.recent {
		if slices.ContainsFunc(k.Records, func(r lease.Record) bool { return r.Worker == id }) {
			m.queue.Mark(m.now, t)
		}
	}
}

// want makes the queue have the connectors that are desired, and marks those of which something else is desired than before.
func (m *Machine) want(list []plan.Desired) {
	before := m.wanted
	m.wanted = make(map[tunnel.ID]plan.Desired, len(list))
	ids := make([]tunnel.ID, len(list))
	for i, d := range list {
		ids[i], m.wanted[d.Tunnel] = d.Tunnel, d
	}
	m.queue.Keep(m.now, ids)
	for _, d := range list {
		if !reflect.DeepEqual(before[d.Tunnel], d) {
			m.queue.Mark(m.now, d.Tunnel)
		}
	}
	for t := range m.recent {
		if _, found := m.wanted[t]; !found {
			delete(m.recent, t)
			delete(m.shortages, t)
		}
	}
}

// choose takes the connectors that the present pass reads, in the order of their ids. A leader that has not read all of them knows too
// little of the load of the workers to plan in parts.
func (m *Machine) choose() {
	most := readMost
	if len(m.recent) < len(m.wanted) {
		most = len(m.wanted)
	}
	ids := m.queue.Take(m.now, most)
	slices.SortFunc(ids, func(a, b tunnel.ID) int { return slices.Compare(a[:], b[:]) })
	m.read.wanted = m.read.wanted[:0]
	for _, t := range ids {
		m.read.wanted = append(m.read.wanted, m.wanted[t])
	}
}

// reviewed marks the connectors that could be better served as things are now, by what was read of them before. Until there are none
// any more it is done again in each pass.
func (m *Machine) reviewed() {
	if m.now.Sub(m.looked) >= reviewEvery {
		m.review = true
	}
	if !m.review || m.read.world.Unlisted || m.scattered || m.read.listed.Sub(m.steady) < m.cfg.Settle {
		return
	}
	m.looked = m.now
	world := m.read.world
	world.Pools, world.Serving, world.Planners = m.pools, m.serving, len(m.team.Members)
	for _, t := range m.sorted() {
		c := m.recent[t].now(m.now)
		c.Records, _ = m.alive(c.Records)
		world.Connectors = append(world.Connectors, c)
	}
	m.health.observe(&world, m.now)
	actions := plan.Plan(world).Actions
	m.review = len(actions) > 0
	for _, a := range actions {
		m.queue.Mark(m.now, slotOf(a).Tunnel)
	}
}

// sorted lists the connectors that were read, by id.
func (m *Machine) sorted() []tunnel.ID {
	list := make([]tunnel.ID, 0, len(m.recent))
	for t := range m.recent {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b tunnel.ID) int { return slices.Compare(a[:], b[:]) })
	return list
}

// beside are the connectors that the present pass did not read, as they were read last.
func (m *Machine) beside() []plan.Connector {
	read := make(map[tunnel.ID]bool, len(m.read.world.Connectors))
	for _, c := range m.read.world.Connectors {
		read[c.Tunnel] = true
	}
	list := make([]plan.Connector, 0, len(m.recent))
	for _, t := range m.sorted() {
		if !read[t] {
			list = append(list, m.recent[t].now(m.now))
		}
	}
	return list
}

// schedule says when the connectors of the present pass are read again.
func (m *Machine) schedule(w *plan.World, result plan.Result) {
	todo := map[tunnel.ID]bool{}
	for _, a := range result.Actions {
		todo[slotOf(a).Tunnel] = true
	}
	possible := map[tunnel.ID]int{}
	for _, s := range result.Shortages {
		possible[s.Tunnel] = s.Possible
	}
	for _, c := range w.Connectors {
		before := m.recent[c.Tunnel]
		k := known{Connector: c, at: m.now, same: before.same + 1}
		if todo[c.Tunnel] || !sameSlots(before.Records, c.Records) {
			k.same, m.review = 0, true
		}
		m.recent[c.Tunnel] = k
		most := c.Connections
		if n, short := possible[c.Tunnel]; short {
			most = n
		}
		wait := busyEvery
		switch {
		case todo[c.Tunnel] || c.Lost || c.Unsettled || w.Unsettled && !well(w, c, most):
		case well(w, c, most):
			wait = sweepEvery/2 + time.Duration(m.cfg.Random(int(sweepEvery/time.Millisecond)))*time.Millisecond
		default:
			for n := busyReads; n < k.same && wait < busyMost; n++ {
				wait *= 2
			}
		}
		m.queue.Done(m.now, c.Tunnel, m.now.Add(wait))
	}
}

// sameSlots reports whether two reads of a connector found the same.
func sameSlots(a, b []lease.Record) bool {
	return slices.EqualFunc(a, b, func(x, y lease.Record) bool {
		x.Age, y.Age, x.Wait, y.Wait = 0, 0, 0, 0
		return x == y
	})
}

// well reports whether nothing is to be expected of a connector: so many slots are connected, at addresses of their own and in
// more than one region where there are several.
func well(w *plan.World, c plan.Connector, most int) bool {
	used := map[netip.AddrPort]bool{}
	regions := map[tunnel.Region]bool{}
	for _, r := range c.Records {
		if !r.Live || r.Worker == "" {
			continue
		}
		if r.Status.State != lease.StateConnected || r.Status.Prefers != "" || used[r.InUse().Addr] {
			return false
		}
		used[r.InUse().Addr], regions[r.InUse().Region] = true, true
	}
	several := 0
	for _, region := range w.Pools[c.Pool].Regions {
		if len(region.V4) > 0 && c.Family != edgepool.V6 || len(region.V6) > 0 && c.Family != edgepool.V4 {
			several++
		}
	}
	return len(used) >= most && len(c.Damaged) == 0 && (len(regions) > 1 || several < 2 || most < 2)
}

package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// checker checks the invariants after every step. It looks at edges, store and processes from outside; what a process thinks does not
// matter.
type checker struct {
	c *Cluster
	// dirty says that something changed; next is when a bound ends even if nothing changes.
	dirty bool
	next  time.Time

	tunnels    []*tunnelState
	violations []Violation
	began      []time.Time // of the faults
	// calm is since when no fault is active.
	calm time.Time

	published  edgepool.Pool
	leaders    map[string]lead
	deployment bucket
	facts      map[Fact][]time.Time
	coverage   *Coverage
}

// tunnelState is what the checker remembers of a tunnel.
type tunnelState struct {
	id      tunnel.ID
	indexes []*indexState
	// registered are the connector ids with a successful registration; buckets the budget of each.
	registered map[tunnel.ConnectorID]bool
	buckets    map[tunnel.ConnectorID]*bucket
	shared     since
	oneRegion  since
	paused     since
}

// indexState is what the checker remembers of one index of a tunnel.
type indexState struct {
	index tunnel.ConnIndex
	// unserved, place and double are since when that is so.
	unserved, place, double since
	// postponed is until when an edge may let it wait.
	postponed time.Time
	// holder and epoch are those of the last grant.
	holder tunnel.WorkerID
	epoch  tunnel.Epoch
	// grants are the workers by epoch, and highest the newest epoch, of each connector id.
	grants  map[tunnel.Slot]map[tunnel.Epoch]tunnel.WorkerID
	highest map[tunnel.Slot]tunnel.Epoch
}

// lead is the holder of a leader lease at the store.
type lead struct {
	holder string
	since  time.Time
}

// since is the time since which something is so; zero when it is not.
type since struct{ at time.Time }

// set keeps the time of the first of several calls with true in a row.
func (s *since) set(now time.Time, on bool) {
	switch {
	case !on:
		s.at = time.Time{}
	case s.at.IsZero():
		s.at = now
	}
}

func (s *since) on() bool { return !s.at.IsZero() }

// lasted is how long it has been so.
func (s *since) lasted(now time.Time) time.Duration {
	if s.at.IsZero() {
		return -1
	}
	return now.Sub(s.at)
}

// bucket is a budget: it fills at a rate, up to a burst.
type bucket struct {
	burst, rate float64
	level       float64
	at          time.Time
}

// take reports whether there was one left.
func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.level = b.burst
	} else {
		b.level = min(b.burst, b.level+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

func newChecker(c *Cluster) *checker {
	k := &checker{
		c: c, dirty: true, leaders: map[string]lead{}, facts: map[Fact][]time.Time{}, calm: c.engine.Now(),
		deployment: bucket{burst: deploymentRate, rate: deploymentRate}, coverage: NewCoverage(),
	}
	for _, id := range c.spec.Tunnels {
		t := &tunnelState{id: id, registered: map[tunnel.ConnectorID]bool{}, buckets: map[tunnel.ConnectorID]*bucket{}}
		for i := range c.spec.Connections {
			t.indexes = append(t.indexes, &indexState{
				index: tunnel.ConnIndex(i), grants: map[tunnel.Slot]map[tunnel.Epoch]tunnel.WorkerID{},
			})
		}
		k.tunnels = append(k.tunnels, t)
	}
	return k
}

// violate records a violation; of each invariant the first one counts.
func (k *checker) violate(i Invariant, subject, format string, args ...any) {
	if slices.ContainsFunc(k.violations, func(v Violation) bool { return v.Invariant == i }) {
		return
	}
	v := Violation{Invariant: i, At: k.c.engine.Elapsed(), Subject: subject, Want: fmt.Sprintf(format, args...)}
	k.violations = append(k.violations, v)
	k.c.engine.Note("-", "VIOLATION "+v.String())
}

// state finds what is known of an index; nil for one beyond the wanted number.
func (k *checker) state(s tunnel.Slot) (*tunnelState, *indexState) {
	for _, t := range k.tunnels {
		if t.id == s.Tunnel {
			if int(s.Index) < len(t.indexes) {
				return t, t.indexes[s.Index]
			}
			return t, nil
		}
	}
	return nil, nil
}

// faulted notes the start of a fault.
func (k *checker) faulted(f *Fault) {
	now := k.c.engine.Now()
	k.began = append(k.began, now)
	k.calm = time.Time{}
	k.dirty = true
	k.cover(f)
}

// mended notes the end of a fault.
func (k *checker) mended() {
	k.dirty = true
	if k.c.count() == 0 {
		k.calm = k.c.engine.Now()
	}
}

// alone reports whether at most one fault can be the reason for what has been so since at.
func (k *checker) alone(at time.Time) bool {
	n := 0
	for _, b := range k.began {
		if b.After(at.Add(-single)) {
			n++
		}
	}
	return n <= 1 && k.c.count() <= 1
}

// step checks what must hold at any time. It runs after every step of the engine.
func (k *checker) step() {
	now := k.c.engine.Now()
	if !k.dirty && now.Before(k.next) {
		return
	}
	k.dirty = false
	k.next = now.Add(time.Hour)
	for _, t := range k.tunnels {
		view := k.look(t)
		for _, i := range t.indexes {
			k.checkServed(t, i, view, now)
			k.checkDouble(t, i, view, now)
		}
		k.checkAddresses(t, view, now)
		k.checkPaused(t, view, now)
	}
}

// due makes step look again when a bound ends.
func (k *checker) due(at time.Time) {
	if at.Before(k.next) {
		k.next = at
	}
}

// view is the present state of a tunnel.
type view struct {
	// usable are the addresses of the pool that work for some worker that could serve the tunnel.
	usable []tunnel.EdgeAddr
	// control says that a supervisor and the store work for the tunnel, worker that a worker could serve it.
	control, worker bool
	// sessions are the registered sessions by index.
	sessions [][]*Session
	possible int
}

func (k *checker) look(t *tunnelState) view {
	c := k.c
	v := view{sessions: make([][]*Session, len(t.indexes))}
	v.control = c.server.well(t.id.String()) && !slices.Contains(c.server.damaged, shortName(t.id)) &&
		slices.ContainsFunc(c.processes, func(e *Env) bool {
			return e.role == RoleSupervisor && e.up() && !e.stopping && !c.disturbed(e)
		})
	v.worker = slices.ContainsFunc(c.processes, func(e *Env) bool { return c.could(e, t.id) })
	for _, a := range k.published.Addresses(edgepool.Any) {
		if c.points[a.Addr] != nil && c.does(a.Addr) == nil {
			v.usable = append(v.usable, a)
		}
	}
	v.possible, _ = edgepool.Cap(len(t.indexes), len(v.usable))
	for _, e := range c.edges {
		for _, s := range e.sessions {
			if s.registered() && s.slot.Tunnel == t.id && int(s.slot.Index) < len(t.indexes) {
				v.sessions[s.slot.Index] = append(v.sessions[s.slot.Index], s)
			}
		}
	}
	return v
}

// could reports whether a worker is a place for slots of a tunnel now.
func (c *Cluster) could(e *Env, id tunnel.ID) bool {
	return e.role == RoleWorker && !c.avoided(e.id) && e.up() && !e.stopping && slices.Contains(e.serves, id) && !c.disturbed(e) &&
		!slices.Contains(c.noEdge, e.host) && !slices.Contains(c.noUDP, e.host)
}

// checkServed checks I6 and progress.
func (k *checker) checkServed(t *tunnelState, i *indexState, v view, now time.Time) {
	i.unserved.set(now, !slices.ContainsFunc(v.sessions[i.index], (*Session).serving))
	i.place.set(now, v.control && v.worker && k.c.desires(t.id, i.index) && int(i.index) < v.possible && !now.Before(i.postponed) &&
		!slices.Contains(k.c.server.damaged, fmt.Sprint(shortName(t.id), "/", i.index)))
	if now.Before(i.postponed) {
		k.due(i.postponed)
	}
	if !i.unserved.on() || !i.place.on() {
		return
	}
	from := i.unserved.at
	if i.place.at.After(from) {
		from = i.place.at
	}
	subject := fmt.Sprint(shortName(t.id), "/", i.index)
	blocked := now.Sub(from)
	if blocked >= servedTime {
		if k.alone(i.unserved.at) {
			k.violate(ServedAgain, subject, "served within %v, not served for %v although a place exists", servedTime, blocked)
		}
	} else {
		k.due(from.Add(servedTime))
	}
	if blocked >= progressTime {
		k.violate(Progress, subject, "served within %v, not served for %v although a place exists", progressTime, blocked)
	} else {
		k.due(from.Add(progressTime))
	}
}

// checkDouble checks that of two sessions the older one ends.
func (k *checker) checkDouble(t *tunnelState, i *indexState, v view, now time.Time) {
	list := v.sessions[i.index]
	free := !slices.ContainsFunc(list, func(s *Session) bool { return !s.serving() || k.c.disturbed(s.env) })
	i.double.set(now, len(list) > 1 && free && v.control)
	switch d := i.double.lasted(now); {
	case d >= doubleTime:
		k.violate(NewerDrains, fmt.Sprint(shortName(t.id), "/", i.index), "one session after %v, there are %d: %s", doubleTime, len(list),
			describe(list))
	case d >= 0:
		k.due(i.double.at.Add(doubleTime))
	}
}

// checkAddresses checks that slots have addresses of their own, in more than one region.
func (k *checker) checkAddresses(t *tunnelState, v view, now time.Time) {
	var taken []tunnel.EdgeAddr
	regions := map[tunnel.Region]bool{}
	shared, served, well := "", 0, v.control
	for i, list := range v.sessions {
		for _, s := range list {
			if !s.serving() || k.c.disturbed(s.env) {
				well = false
				continue
			}
			if slices.Contains(taken, s.at.addr) && len(list) == 1 {
				shared = fmt.Sprint(shortName(t.id), "/", i, " at ", s.at.addr)
			}
		}
		if len(list) > 0 {
			served++
		}
		for _, s := range list {
			taken = append(taken, s.at.addr)
			regions[s.at.addr.Region] = true
		}
	}
	free := slices.DeleteFunc(slices.Clone(v.usable), func(a tunnel.EdgeAddr) bool { return slices.Contains(taken, a) })
	elsewhere := slices.ContainsFunc(free, func(a tunnel.EdgeAddr) bool { return !regions[a.Region] })
	k.judgeAddresses(t, now, addressState{
		shared: shared, spare: len(free) > 0, oneRegion: served > 1 && len(regions) == 1, elsewhere: elsewhere, repairable: well && v.worker,
	})
}

// addressState is how the sessions of a tunnel use addresses.
type addressState struct {
	// shared names a slot that shares its address, or is empty; spare says that an address is free.
	shared string
	spare  bool
	// oneRegion says that all sessions are in one region, elsewhere that the other one has room.
	oneRegion, elsewhere bool
	// repairable says that somebody can move a slot.
	repairable bool
}

func (k *checker) judgeAddresses(t *tunnelState, now time.Time, a addressState) {
	t.shared.set(now, a.shared != "" && a.spare && a.repairable)
	t.oneRegion.set(now, a.oneRegion && a.elsewhere && a.repairable)
	k.bound(&t.shared, repairTime, now, OwnAddress, a.shared, "an address of its own within %v while another one is free", repairTime)
	k.bound(&t.oneRegion, spreadTime, now, TwoRegions, shortName(t.id), "sessions in two regions within %v", spreadTime)
}

// bound reports what has been so for too long.
func (k *checker) bound(s *since, limit time.Duration, now time.Time, i Invariant, subject, format string, args ...any) {
	switch d := s.lasted(now); {
	case d >= limit:
		k.violate(i, subject, format, args...)
	case d >= 0:
		k.due(s.at.Add(limit))
	}
}

func describe(list []*Session) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, fmt.Sprintf("%s epoch %d at %s", s.env.Instance(), s.epoch, s.at.addr))
	}
	return strings.Join(parts, ", ")
}

// shortName is the short name of a tunnel.
func shortName(id tunnel.ID) string { return fmt.Sprint("t", id[0]) }

package sim

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// What an operator does. These are in no drawn plan of faults: WithOperator adds them to one.
const (
	WishPaused     Kind = "desired-paused"      // a tunnel is paused for a while
	WishFewer      Kind = "desired-connections" // a tunnel gets N connections for a while
	WishWeight     Kind = "desired-weight"      // a worker gets no connections of any tunnel for a while
	WishDrain      Kind = "desired-drain"       // a worker is drained for a while
	WishProtocol   Kind = "desired-protocol"    // a tunnel is over one transport for a while
	OrderMove      Kind = "command-move"        // slot N is moved
	OrderReconnect Kind = "command-reconnect"   // the connection of slot N is made again
)

const (
	// operatorEvery is how often the operator looks whether the store has what is desired.
	operatorEvery = 2 * time.Second
	// wishTime is how long sessions may end because of what an operator changed, after the last change: the time until supervisors and
	// workers have followed, also when something is broken, and the grace period.
	wishTime = 90 * time.Second
	// pausedTime is how long a paused tunnel may have sessions while its workers and a supervisor reach the store.
	pausedTime = time.Minute
)

// operator is who desires something. It writes past all faults of the way, but not of the store, and looks again and again.
type operator struct {
	// active are the wishes that hold now.
	active []*Fault
	// touched are the tunnels and workers that were ever changed, with the time of the last change.
	touched map[string]time.Time
	// moved counts the grants, and asked the reconnects, of each command.
	moved, asked map[string]int
	// asking are the slots of which an operator wants a new connection, with the time.
	asking  map[tunnel.Slot]time.Time
	ticking bool
}

func newOperator() operator {
	return operator{touched: map[string]time.Time{}, moved: map[string]int{}, asked: map[string]int{}, asking: map[tunnel.Slot]time.Time{}}
}

// WithOperator adds to a plan what an operator does meanwhile.
func WithOperator(r *rand.Rand, s *Spec, plan []Fault) []Fault {
	out := slices.Clone(plan)
	for range 2 + r.IntN(5) {
		f := Fault{At: Duration(between(r, s.Warmup, s.Warmup+s.Faults).Round(time.Millisecond)), N: r.IntN(s.Connections)}
		f.Target = fmt.Sprint("t", 1+r.IntN(len(s.Tunnels)))
		f.Kind = pick(r, []Kind{WishPaused, WishFewer, WishWeight, WishDrain, WishProtocol, OrderMove, OrderMove, OrderReconnect})
		switch f.Kind {
		case WishWeight, WishDrain:
			f.Target = pick(r, workers(s))
		case WishFewer:
			f.N = 1 + r.IntN(s.Connections)
		default:
		}
		if f.Kind != OrderMove && f.Kind != OrderReconnect {
			f.For = Duration(logBetween(r, time.Second, longest).Round(time.Millisecond))
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return int(a.At - b.At) })
	return out
}

// operate applies what an operator does. Supervisors of a former version do not follow it.
func (c *Cluster) operate(i int, f *Fault) (undo func()) {
	if slices.ContainsFunc(c.spec.Supervisors, func(s SupervisorSpec) bool { return s.Legacy }) {
		return nil
	}
	if f.Kind == OrderMove || f.Kind == OrderReconnect {
		c.order(i, f)
		return nil
	}
	end := with(&c.operator.active, f)
	c.wish(f)
	return func() {
		end()
		c.wish(f)
	}
}

// wish writes what is desired after a wish began or ended.
func (c *Cluster) wish(f *Fault) {
	names := []string{f.Target}
	if f.Kind == WishWeight {
		for _, id := range c.spec.Tunnels {
			names = append(names, shortName(id))
		}
	}
	for _, name := range names {
		c.operator.touched[name] = c.engine.Now()
	}
	c.checker.dirty = true
	c.write()
	if !c.operator.ticking {
		c.operator.ticking = true
		c.operatorTick()
	}
}

func (c *Cluster) operatorTick() {
	c.engine.After(operatorEvery, "operator", func() {
		c.write()
		c.operatorTick()
	})
}

// write makes the store have what is desired, as far as it works.
func (c *Cluster) write() {
	raw, err := c.server.do(command.Desired(0).Command)
	if err != nil {
		return
	}
	read, err := command.Desired(0).Decode(raw)
	if err != nil {
		return
	}
	wrote := false
	for _, id := range c.spec.Tunnels {
		if _, touched := c.operator.touched[shortName(id)]; !touched {
			continue
		}
		now, want := read.Tunnels[id], c.wanted(id)
		if same(now.Spec, want) {
			continue
		}
		if r, err := command.SetDesired(id, now.Version, want, "operator", !now.SamePool(want)); err == nil {
			_, err = c.server.do(r.Command)
			wrote = wrote || err == nil
		}
	}
	for i := range c.spec.Workers {
		id := c.spec.Workers[i].ID
		m, want := read.Workers[tunnel.WorkerID(id)], c.drained(id)
		if _, touched := c.operator.touched[id]; !touched || m.Drained == want {
			continue
		}
		if r, err := command.SetDrained(tunnel.WorkerID(id), m.Version, want, "operator"); err == nil {
			_, err = c.server.do(r.Command)
			wrote = wrote || err == nil
		}
	}
	if wrote {
		c.markDesired()
		c.deliver(command.HintChannel(lease.TopicStatus))
	}
}

func same(a, b desired.Spec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// wanted is what is desired of a tunnel now.
func (c *Cluster) wanted(id tunnel.ID) desired.Spec {
	var s desired.Spec
	for _, f := range c.operator.active {
		switch {
		case f.Kind == WishWeight:
			if s.Weights == nil {
				s.Weights = map[string]int{}
			}
			s.Weights[f.Target] = 0
		case f.Target != shortName(id):
		case f.Kind == WishPaused:
			s.Paused = true
		case f.Kind == WishFewer:
			s.Connections = f.N
		case f.Kind == WishProtocol:
			s.Protocol = string([]tunnel.Protocol{tunnel.QUIC, tunnel.HTTP2}[f.N%2])
		}
	}
	return s
}

// drained reports whether a worker is drained, or has weight 0.
func (c *Cluster) drained(id string) bool {
	return slices.ContainsFunc(c.operator.active, func(f *Fault) bool { return f.Kind == WishDrain && f.Target == id })
}

// avoided reports whether an operator keeps connections away from a worker.
func (c *Cluster) avoided(id string) bool {
	return slices.ContainsFunc(c.operator.active, func(f *Fault) bool {
		return (f.Kind == WishDrain || f.Kind == WishWeight) && f.Target == id
	})
}

// desires reports whether an index shall be served now.
func (c *Cluster) desires(id tunnel.ID, index tunnel.ConnIndex) bool {
	s := c.wanted(id)
	return !s.Paused && (s.Connections == 0 || int(index) < s.Connections)
}

// changedLately reports whether sessions of an index may end because of what an operator does.
func (c *Cluster) changedLately(slot tunnel.Slot) bool {
	now := c.engine.Now()
	recent := func(at time.Time, found bool) bool { return found && now.Sub(at) < wishTime }
	asked, is := c.operator.asking[slot]
	touched, was := c.operator.touched[shortName(slot.Tunnel)]
	return !c.desires(slot.Tunnel, slot.Index) || recent(asked, is) || recent(touched, was)
}

// order sends a command for the slot that the last grant made, as far as the store works.
func (c *Cluster) order(i int, f *Fault) {
	for _, t := range c.checker.tunnels {
		if shortName(t.id) != f.Target || f.N >= len(t.indexes) {
			continue
		}
		state := t.indexes[f.N]
		o := desired.Command{ID: fmt.Sprint("c", i), Kind: desired.Move, Tunnel: t.id, Index: state.index, Epoch: state.epoch}
		if f.Kind == OrderReconnect {
			o.Kind = desired.Reconnect
		}
		r, err := command.Submit(o, desired.DefaultTTL)
		if err != nil {
			return // never granted
		}
		for slot := range state.grants {
			c.operator.asking[slot] = c.engine.Now()
		}
		// The operator's request is sent twice: that is one command.
		for range 2 {
			if _, err := c.server.do(r.Command); err != nil {
				return
			}
		}
		c.markDesired()
		c.deliver(command.HintChannel(lease.TopicStatus))
	}
}

// markDesired marks what was written, if the store works.
func (c *Cluster) markDesired() {
	_, _ = c.server.do(command.MarkDesired().Command) // the supervisors look without a mark, too
}

// checkCommand counts what was carried out.
func (k *checker) checkCommand(cmd command.Command, reply any) {
	list, _ := reply.([]any)
	if cmd.Name() != "grant" || len(cmd.Args) < 15 || cmd.Args[14] == "" || len(list) != 3 || list[0] != "ok" {
		return
	}
	id := cmd.Args[14]
	k.c.operator.moved[id]++
	if n := k.c.operator.moved[id]; n > 1 {
		k.violate(CommandOnce, id, "one grant for a command; this is number %d", n)
	}
}

// checkPaused checks that the sessions of a paused tunnel end.
func (k *checker) checkPaused(t *tunnelState, v view, now time.Time) {
	var standing []string
	for _, list := range v.sessions {
		for _, s := range list {
			if s.serving() && k.healthy(s.env) {
				standing = append(standing, s.env.Instance())
			}
		}
	}
	lost := !k.c.server.changed.IsZero() && now.Sub(k.c.server.changed) < pausedTime
	t.paused.set(now, v.control && !lost && len(standing) > 0 && k.c.wanted(t.id).Paused)
	k.bound(&t.paused, pausedTime, now, PausedEnds, shortName(t.id), "no session of a paused tunnel after %v, there are those of %s",
		pausedTime, strings.Join(standing, ", "))
}

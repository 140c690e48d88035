package registry

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrDuplicate says that the slot is registered on the same edge address already.
var ErrDuplicate = admit.ErrDuplicate

// Table holds the registered connections of all tunnels.
type Table struct {
	// mu guards the fields below and the state of every connection.
	mu     sync.RWMutex
	groups map[tunnel.ID]*group
	seq    uint64
}

// group holds the connections of one tunnel.
type group struct {
	conns []*Conn
	// routable is what Pick chooses from: the current connection of every slot. Never changed in place.
	routable atomic.Pointer[[]*Conn]
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{groups: make(map[tunnel.ID]*group)} }

// Register adds c, if the rule admit.Slot allows it beside the live sessions of its slot. It retires those that c replaces.
func (t *Table) Register(c *Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[c.Slot.Tunnel]
	if g == nil {
		g = &group{}
		t.groups[c.Slot.Tunnel] = g
	}
	var live []*Conn
	var sessions []admit.Session
	for _, o := range g.conns {
		if o.state == Active && o.Slot == c.Slot && o.alive() {
			live, sessions = append(live, o), append(sessions, o.session())
		}
	}
	replaced, err := admit.Slot(c.Slot.Index, c.session(), sessions)
	if err != nil {
		return err
	}
	for _, i := range replaced {
		live[i].retireLocked(Replaced)
	}
	t.seq++
	c.state, c.seq = Active, t.seq
	g.conns = append(g.conns, c)
	g.refreshLocked()
	return nil
}

// Retire keeps new requests from c; those in flight go on.
func (t *Table) Retire(c *Conn, s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.state != Active {
		return
	}
	c.retireLocked(s)
	if g := t.groups[c.Slot.Tunnel]; g != nil {
		g.refreshLocked()
	}
}

// Remove removes c after its session ended.
func (t *Table) Remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[c.Slot.Tunnel]
	if g == nil {
		return
	}
	c.retireLocked(Gone)
	g.conns = slices.DeleteFunc(g.conns, func(o *Conn) bool { return o == c })
	if len(g.conns) == 0 {
		delete(t.groups, c.Slot.Tunnel)
	}
	g.refreshLocked()
}

// Evict retires all connections of a tunnel that no longer exists.
func (t *Table) Evict(id tunnel.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[id]
	if g == nil {
		return
	}
	for _, c := range g.conns {
		if c.state == Active {
			c.retireLocked(Evicted)
		} else {
			c.state = Evicted
		}
	}
	g.refreshLocked()
}

// Pick chooses the connection of a tunnel with the fewest requests in flight, at random among equals, and counts the
// new request on it; the caller calls Release. It never returns exclude, which may be nil, and a connection in doubt only
// when there is no other.
func (t *Table) Pick(id tunnel.ID, exclude *Conn) (*Conn, bool) {
	t.mu.RLock()
	g := t.groups[id]
	t.mu.RUnlock()
	if g == nil {
		return nil, false
	}
	c := choose(*g.routable.Load(), exclude)
	if c == nil && exclude != nil || c != nil && c.InDoubt() {
		c = choose(t.active(g), exclude)
	}
	if c == nil {
		return nil, false
	}
	c.load.begin()
	return c, true
}

// PickOf is Pick among the connections of one connector.
func (t *Table) PickOf(id tunnel.ID, connector tunnel.ConnectorID, exclude *Conn) (*Conn, bool) {
	t.mu.RLock()
	g := t.groups[id]
	t.mu.RUnlock()
	if g == nil {
		return nil, false
	}
	c := choose(slices.DeleteFunc(t.active(g), func(c *Conn) bool { return c.Slot.Connector != connector }), exclude)
	if c == nil {
		return nil, false
	}
	c.load.begin()
	return c, true
}

// doubtRank makes a connection in doubt come behind all others, however many requests these have.
const doubtRank = 1 << 40

func choose(conns []*Conn, exclude *Conn) *Conn {
	var best *Conn
	var least int64
	var ties uint32
	for _, c := range conns {
		if c == exclude || !c.alive() {
			continue
		}
		n := c.InFlight()
		if c.InDoubt() {
			n += doubtRank
		}
		switch {
		case best == nil || n < least:
			best, least, ties = c, n, 1
		case n == least:
			ties++
			if rand.Uint32N(ties) == 0 {
				best = c
			}
		}
	}
	return best
}

// active lists all active connections, including those that a newer connection of the same slot replaces.
func (t *Table) active(g *group) []*Conn {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []*Conn
	for _, c := range g.conns {
		if c.state == Active {
			out = append(out, c)
		}
	}
	return out
}

// Known is a connection and its state at one moment.
type Known struct {
	*Conn
	State State
}

// List returns all connections, by slot and age.
func (t *Table) List() []Known {
	t.mu.RLock()
	var out []Known
	for _, g := range t.groups {
		for _, c := range g.conns {
			out = append(out, Known{c, c.state})
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(out, func(a, b Known) int {
		return cmp.Or(
			bytes.Compare(a.Slot.Tunnel[:], b.Slot.Tunnel[:]),
			bytes.Compare(a.Slot.Connector[:], b.Slot.Connector[:]),
			cmp.Compare(a.Slot.Index, b.Slot.Index),
			cmp.Compare(a.seq, b.seq),
		)
	})
	return out
}

// Count is the number of a tunnel's active connections.
func (t *Table) Count(id tunnel.ID) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	if g := t.groups[id]; g != nil {
		for _, c := range g.conns {
			if c.state == Active {
				n++
			}
		}
	}
	return n
}

// Len is the number of all connections, in any state.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for _, g := range t.groups {
		n += len(g.conns)
	}
	return n
}

// StateOf is the state of c.
func (t *Table) StateOf(c *Conn) State {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return c.state
}

// retireLocked sets the state of a connection that gets no new requests any more; the table's mutex is held.
func (c *Conn) retireLocked(s State) {
	c.state = s
	c.retiredOnce.Do(func() { close(c.retired) })
}

// refreshLocked rebuilds routable; the table's mutex is held. Of several active connections of a slot the one with the
// highest epoch is current, and of equal ones the latest.
func (g *group) refreshLocked() {
	best := make(map[tunnel.Slot]*Conn, len(g.conns))
	for _, c := range g.conns {
		if c.state != Active {
			continue
		}
		if o := best[c.Slot]; o == nil || c.Epoch > o.Epoch || (c.Epoch == o.Epoch && c.seq > o.seq) {
			best[c.Slot] = c
		}
	}
	list := make([]*Conn, 0, len(best))
	for _, c := range g.conns {
		if best[c.Slot] == c {
			list = append(list, c)
		}
	}
	g.routable.Store(&list)
}

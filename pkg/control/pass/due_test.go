package pass

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// plant is a store for one supervisor: six tunnels of one connection each, served by two workers that mark what they change.
type plant struct {
	t       *testing.T
	m       *Machine
	now     time.Time
	workers []fleet.Worker
	records map[tunnel.ID]lease.Record
	marked  []tunnel.ID
	// marks is the version of the marks, and desired says that the desired state is marked.
	marks   uint64
	desired bool
	pool    PoolReply
	term    lease.Term
	team    lease.Team
	// failing are tunnels whose slots cannot be read.
	failing map[tunnel.ID]bool
	// damaged are tunnels whose slot cannot be read.
	damaged map[tunnel.ID]bool
	// read are the tunnels whose slots were read in the last pass, pools how many pools, and wishes how often the desired state.
	read          []byte
	pools, wishes int
	// told counts the troubles that were new.
	told int
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	p := &plant{
		t: t, now: time.Unix(1000, 0), records: map[tunnel.ID]lease.Record{}, pool: poolOf(3), term: 7, marks: 3,
		failing: map[tunnel.ID]bool{}, damaged: map[tunnel.ID]bool{},
		m: NewMachine(Config{ID: "s1", Connections: 1, Random: random.IntN, Entropy: chance{random}}),
	}
	p.workers = []fleet.Worker{{ID: "w1", Instance: "a", Capacity: 99, Marks: true}, {ID: "w2", Instance: "b", Capacity: 99, Marks: true}}
	for i := range 6 {
		id := tunnel.ID{byte(i + 1)}
		for w := range p.workers {
			p.workers[w].Tunnels = append(p.workers[w].Tunnels, fleet.TunnelRef{ID: id, Connections: 1})
		}
		r := lease.Record{Live: true, Status: lease.Status{State: lease.StateConnected}}
		r.Slot = tunnel.Slot{Tunnel: id, Connector: tunnel.ConnectorID{id[0]}}
		r.Worker, r.Instance, r.Epoch = p.workers[i%2].ID, p.workers[i%2].Instance, 5
		r.Edge = tunnel.EdgeAddr{Addr: addr(1), Region: "region1"}
		p.records[id] = r
	}
	return p
}

// pass makes one pass, and replies to what it asks.
func (p *plant) pass(after time.Duration, e Event) {
	p.t.Helper()
	p.now, p.read, p.pools, p.wishes = p.now.Add(after), nil, 0, 0
	actions := p.m.Step(p.now, e)
	for range 200 {
		if len(actions) == 0 {
			p.t.Fatal("no action")
		}
		for _, a := range actions {
			if trouble, ok := a.(Trouble); ok && trouble.First {
				p.told++
			}
		}
		switch a := actions[len(actions)-1].(type) {
		case Rest:
			p.m.Step(p.now, Rested{})
			return
		case TakeLead:
			actions = p.m.Step(p.now, LeadReply{Lead: lease.Lead{Holds: true, Term: p.term, Before: p.term}, Team: p.team})
		case ListWorkers:
			l := fleet.Listing{Workers: append([]fleet.Worker(nil), p.workers...), Marks: p.marks, Marked: p.marked, Desired: p.desired}
			p.marked, p.desired = nil, false
			actions = p.m.Step(p.now, WorkersReply{Listing: l})
		case ReadDesired:
			p.wishes++
			actions = p.m.Step(p.now, DesiredReply{Same: true})
		case ReadPool:
			p.pools++
			actions = p.m.Step(p.now, p.pool)
		case ReadConnector:
			actions = p.m.Step(p.now, ConnectorReply{ID: tunnel.ConnectorID{a.Tunnel[0]}})
		case ReadSlots:
			p.read = append(p.read, a.Tunnel[0])
			reply := SlotsReply{Records: []lease.Record{p.records[a.Tunnel]}}
			if p.damaged[a.Tunnel] {
				reply = SlotsReply{Damaged: []lease.Damaged{{Index: 0, Reason: "damaged"}}}
			}
			if p.failing[a.Tunnel] {
				reply = SlotsReply{Err: away()}
			}
			actions = p.m.Step(p.now, reply)
		case ReadProved:
			actions = p.m.Step(p.now, ProvedReply{Proved: true})
		case Grant:
			r := p.records[a.Slot.Tunnel]
			r.Grant, r.Status = a.Grant.Grant, lease.Status{State: lease.StateConnected}
			r.Epoch = a.Expect + 1
			p.records[a.Slot.Tunnel] = r
			actions = p.m.Step(p.now, GrantReply{Granted: r.Grant})
		case Release:
			r := p.records[a.Slot.Tunnel]
			r.Worker, r.Live, r.Status = "", false, lease.Status{}
			p.records[a.Slot.Tunnel] = r
			actions = p.m.Step(p.now, ReleaseReply{})
		case BeginGeneration:
			actions = p.m.Step(p.now, GenerationReply{})
		case Notify:
			actions = p.m.Step(p.now, NotifyReply{})
		default:
			p.t.Fatalf("%T", a)
		}
	}
	p.t.Fatal("the pass does not end")
}

// want makes a pass, and says which tunnels it must read.
func (p *plant) want(what string, after time.Duration, e Event, tunnels ...byte) {
	p.t.Helper()
	p.pass(after, e)
	if !slices.Equal(p.read, tunnels) {
		p.t.Errorf("%s: read %v, want %v", what, p.read, tunnels)
	}
}

// calm brings the plant to where nothing happens.
func (p *plant) calm() {
	p.t.Helper()
	p.want("the first pass", 0, Started{}, 1, 2, 3, 4, 5, 6)
	p.pass(SettleTime, Ticked{})
	p.want("nothing happens", time.Second, Ticked{})
}

// TestDue: a leader reads what was marked and what a change concerns, and nothing else.
func TestDue(t *testing.T) {
	p := newPlant(t)
	p.calm()
	p.want("a hint alone", 0, Hinted{})
	p.marked = []tunnel.ID{{4}, {9}, {2}}
	p.want("two marks, and one of a tunnel that nobody serves", time.Second, Hinted{}, 2, 4)
	p.want("they are well", time.Second, Ticked{})
	failed := p.records[tunnel.ID{3}]
	failed.Status = lease.Status{State: lease.StateConnecting}
	p.records[tunnel.ID{3}] = failed
	p.marked = []tunnel.ID{{3}}
	p.want("one that connects", time.Second, Ticked{}, 3)
	p.want("one that still connects", time.Second, Ticked{}, 3)
	for range 60 {
		p.pass(time.Second, Ticked{})
	}
	reads := 0
	for range 60 {
		p.pass(time.Second, Ticked{})
		reads += len(p.read)
	}
	if reads < 7 || reads > 9 {
		t.Errorf("%d reads in a minute of a connector where nothing changes, want one every %v", reads, busyMost)
	}
	failed.Status.State = lease.StateConnected
	p.records[tunnel.ID{3}] = failed
	p.marked = []tunnel.ID{{3}}
	p.want("it is connected", time.Second, Ticked{}, 3)
	p.want("and well", time.Second, Ticked{})
}

// TestChangesOfWorkers: a worker that is gone concerns the connectors that it has slots of, and a new one those that it could serve better.
func TestChangesOfWorkers(t *testing.T) {
	p := newPlant(t)
	p.calm()
	both := p.workers
	p.workers = both[:1]
	p.want("a worker is gone", time.Second, Ticked{}, 2, 4, 6)
	p.pass(time.Second, Ticked{})
	p.pass(time.Second, Ticked{})
	for _, r := range p.records {
		if r.Worker != "w1" {
			t.Errorf("slot %v is with %s, which is gone", r.Slot, r.Worker)
		}
	}
	p.workers = both
	for range 8 {
		p.pass(time.Second, Ticked{})
		if len(p.read) > 4 {
			t.Errorf("a worker came back: %v read at once, want those that move", p.read)
		}
	}
	n := 0
	for _, r := range p.records {
		if r.Worker == "w2" {
			n++
		}
	}
	if n < 2 {
		t.Errorf("the worker that came back has %d slots of 6", n)
	}
	p.pass(time.Second, Ticked{})
	p.want("balanced", time.Second, Ticked{})
	// More is desired of one tunnel.
	p.workers = []fleet.Worker{both[0], both[1]}
	p.workers[0].Tunnels = append([]fleet.TunnelRef(nil), both[0].Tunnels...)
	p.workers[0].Tunnels[4].Connections = 2
	p.pass(time.Second, Ticked{})
	if len(p.read) == 0 || p.m.wanted[tunnel.ID{5}].Connections != 2 {
		t.Errorf("more connections desired of tunnel 5: read %v", p.read)
	}
	// One that makes no marks is looked after all the time.
	p.workers = []fleet.Worker{both[0], both[1], {ID: "old", Instance: "z", Tunnels: []fleet.TunnelRef{{ID: tunnel.ID{1}, Connections: 1}}}}
	p.pass(time.Second, Ticked{})
	p.pass(time.Millisecond, Hinted{})
	if len(p.read) == 0 || p.read[0] != 1 {
		t.Errorf("a worker without marks: read %v, want its tunnel", p.read)
	}
}

// TestFailuresWait: a tunnel that cannot be read is read less and less often, and the others are not.
func TestFailuresWait(t *testing.T) {
	p := newPlant(t)
	p.calm()
	p.failing[tunnel.ID{2}], p.failing[tunnel.ID{4}] = true, true
	p.marked = []tunnel.ID{{2}, {4}}
	p.want("they fail", time.Second, Ticked{}, 2, 4)
	tries := 0
	for range 120 {
		p.marked = []tunnel.ID{{2}, {5}}
		p.pass(time.Second, Ticked{})
		if !slices.Contains(p.read, 5) {
			t.Fatal("a tunnel that works waits for one that fails")
		}
		if slices.Contains(p.read, 2) {
			tries++
		}
	}
	if p.told != 1 {
		t.Errorf("a part of the store that is down was told %d times, want once", p.told)
	}
	if tries < 5 || tries > 9 {
		t.Errorf("%d reads of a tunnel that fails in two minutes, want about 7", tries)
	}
}

// TestWishesAreReadWhenMarked: the desired state is read when it was marked, when marks or the lead were lost, and every 10 s.
func TestWishesAreReadWhenMarked(t *testing.T) {
	p := newPlant(t)
	p.calm()
	want := func(what string, after time.Duration, n int) {
		t.Helper()
		p.pass(after, Ticked{})
		if p.wishes != n {
			t.Errorf("%s: read %d times, want %d", what, p.wishes, n)
		}
	}
	want("after a while", wishEvery, 1)
	want("nothing marked", time.Second, 0)
	p.desired = true
	want("marked", time.Second, 1)
	want("read", time.Second, 0)
	p.marks = 2
	want("marks lost", time.Second, 1)
	if len(p.read) != 6 {
		t.Errorf("marks lost: read the tunnels %v, want all", p.read)
	}
	want("read again", time.Second, 0)
	p.term--
	want("the lead lost", time.Second, 1)
}

// TestOccupied: the address of a slot that cannot be read any more is remembered for as long as that is so.
func TestOccupied(t *testing.T) {
	p := newPlant(t)
	p.calm()
	id := tunnel.ID{3}
	p.damaged[id] = true
	for range 2 {
		p.marked = []tunnel.ID{id}
		p.want("damaged", time.Second, Ticked{}, 3)
		if got, want := p.m.recent[id].Occupied[0], p.records[id].Edge; got != want {
			t.Errorf("occupied %v, want %v", got, want)
		}
	}
	p.damaged[id] = false
	p.want("readable again", time.Second, Ticked{}, 3)
	if got := p.m.recent[id].Occupied; got != nil {
		t.Errorf("occupied %v, want nothing", got)
	}
}

// TestSweep: without any news every connector is read every few minutes, and not all at once.
func TestSweep(t *testing.T) {
	p := newPlant(t)
	p.calm()
	reads, most, pools := map[byte]int{}, 0, 0
	for range 900 {
		p.pass(time.Second, Ticked{})
		most, pools = max(most, len(p.read)), pools+p.pools
		for _, b := range p.read {
			reads[b]++
		}
	}
	for id := byte(1); id <= 6; id++ {
		if reads[id] < 2 || reads[id] > 6 {
			t.Errorf("tunnel %d was read %d times in 15 minutes, want every 2.5 to 7.5 minutes", id, reads[id])
		}
	}
	if most > 3 || pools < 90 || pools > 120 {
		t.Errorf("%d connectors in one pass and %d pools read in 15 minutes, want few and one every 10 s", most, pools)
	}
	// A store that lost data is read as a whole.
	p.term = 6
	p.want("an older term than before", time.Second, Hinted{Pools: true}, 1, 2, 3, 4, 5, 6)
	if p.pools != 1 {
		t.Errorf("%d pools read after a hint, want 1", p.pools)
	}
}

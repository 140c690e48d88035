package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// process is a process of a worker that renews its lease.
type process struct {
	t *testing.T
	s *redisstore.Store
	fleet.Renewal
}

func newProcess(t *testing.T, s *redisstore.Store, id tunnel.WorkerID, instance string) *process {
	t.Helper()
	return &process{t: t, s: s, Renewal: fleet.Renewal{Worker: fleet.Worker{ID: id, Instance: instance, Host: "h", PID: 7}}}
}

// renew makes one renewal, and remembers what it confirmed.
func (p *process) renew(full bool, ttl time.Duration) fleet.Renewed {
	p.t.Helper()
	p.Number++
	p.Full = full
	got, err := p.s.RenewWorker(p.t.Context(), p.Renewal, ttl)
	if err != nil {
		p.t.Fatalf("RenewWorker: %v", err)
	}
	if got.Taken == nil && !got.Unknown {
		p.Confirmed, p.Inbox = p.Number, got.Inbox
	}
	return got
}

// testWorkerLease: one process has the lease of a worker, until it ends it or the lease runs out.
func testWorkerLease(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	id := tunnel.WorkerID(unique(t))
	first, second := newProcess(t, s, id, "a"), newProcess(t, s, id, "b")
	if got := first.renew(false, long); !got.Unknown {
		t.Errorf("first renewal without a record: %+v, want it to be asked for", got)
	}
	if got := first.renew(true, long); !got.New || got.Lapsed || got.Generation == 0 {
		t.Errorf("first renewal: %+v, want a new lease", got)
	}
	if got := first.renew(false, long); got.New || got.Lapsed || got.Unknown {
		t.Errorf("second renewal: %+v, want the lease kept", got)
	}
	testTakenID(t, s, first, second)
	testLegacyWorker(t, s)
	testReplaced(t, s)
}

// testReplaced: a process that has ended for certain is replaced at once, and none that has another instance than was thought.
func testReplaced(t *testing.T, s *redisstore.Store) {
	t.Helper()
	id := tunnel.WorkerID(unique(t))
	first, second := newProcess(t, s, id, "a"), newProcess(t, s, id, "b")
	first.renew(true, long)
	second.Replaces = "z"
	if got := second.renew(true, long); got.Taken == nil {
		t.Errorf("a process that is not the one that ended was replaced: %+v", got)
	}
	second.Replaces = "a"
	if got := second.renew(true, long); got.Taken != nil || !got.New {
		t.Errorf("the process that ended keeps the id: %+v", got)
	}
	if w := listedWorker(t, s, id); w == nil || w.Instance != "b" {
		t.Errorf("listed: %+v, want the second process", w)
	}
	if got := first.renew(false, long); got.Taken == nil || got.Taken.By.Instance != "b" {
		t.Errorf("the first process, which runs after all: %+v, want that the id is taken", got)
	}
}

// testTakenID: the second process gets the id when the first one's lease has run out, and the first one gets it back later.
func testTakenID(t *testing.T, s *redisstore.Store, first, second *process) {
	t.Helper()
	id := first.Worker.ID
	taken := second.renew(true, long).Taken
	if taken == nil || taken.By.Instance != "a" || taken.By.PID != 7 {
		t.Fatalf("a second process: taken by %+v, want the first one", taken)
	}
	if w := listedWorker(t, s, id); w == nil || w.Instance != "a" {
		t.Errorf("listed: %+v, want the first process", w)
	}
	if err := s.RemoveWorker(t.Context(), id, "b"); err != nil || listedWorker(t, s, id) == nil {
		t.Errorf("the second process ended the lease of the first one, %v", err)
	}
	// A lease that was written by another clock keeps the id for one lease only.
	if got := second.renew(true, short).Taken; got == nil || got.Until >= taken.Until {
		t.Errorf("taken: %+v, want an end before %v", got, taken.Until)
	}
	eventually(t, "the second process gets the lease that ran out", func() bool { return second.renew(true, long).Taken == nil })
	testGivenBack(t, s, first)
}

// testGivenBack: the second process has the id, ends its lease, and the first one gets it.
func testGivenBack(t *testing.T, s *redisstore.Store, first *process) {
	t.Helper()
	id := first.Worker.ID
	if got := first.renew(false, long); got.Taken == nil || got.Taken.By.Instance != "b" {
		t.Errorf("the first process when it comes back: %+v, want that the id is taken", got)
	}
	if err := s.RemoveWorker(t.Context(), id, "b"); err != nil || listedWorker(t, s, id) != nil {
		t.Errorf("RemoveWorker: %v, and the worker is listed: %v", err, listedWorker(t, s, id) != nil)
	}
	if got := first.renew(true, short); !got.New {
		t.Errorf("after the second process ended: %+v, want a new lease", got)
	}
	eventually(t, "a lease that is not renewed runs out", func() bool { return listedWorker(t, s, id) == nil })
	if got := first.renew(false, long); !got.Lapsed || got.New || listedWorker(t, s, id) == nil {
		t.Errorf("after the lease ran out: %+v, want it to live again", got)
	}
}

// testLegacyWorker: a process that only keeps a registration has its id, too.
func testLegacyWorker(t *testing.T, s *redisstore.Store) {
	t.Helper()
	id := tunnel.WorkerID(unique(t))
	put := func(ttl time.Duration) {
		if err := s.PutWorker(t.Context(), fleet.Worker{ID: id, Host: "old"}, ttl); err != nil {
			t.Fatal(err)
		}
	}
	put(long)
	p := newProcess(t, s, id, "a")
	if got := p.renew(true, long); got.Taken == nil || got.Taken.By.Host != "old" {
		t.Errorf("beside a registration: %+v, want that the id is taken", got)
	}
	put(short)
	eventually(t, "the registration runs out", func() bool { return p.renew(true, long).Taken == nil })
}

// testInbox: a worker learns with the renewal of its lease which tunnels' slots changed.
func testInbox(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	p := newProcess(t, s, tunnel.WorkerID(unique(t)), "a")
	one, two := newTunnel(t), newTunnel(t)
	notify := func(ids ...tunnel.ID) {
		t.Helper()
		if err := s.Notify(t.Context(), p.Worker.ID, ids); err != nil {
			t.Fatalf("Notify: %v", err)
		}
	}
	want := func(what string, ids ...tunnel.ID) {
		t.Helper()
		got := p.renew(p.Number == 0, long)
		sorted := func(list []tunnel.ID) []tunnel.ID {
			return slices.SortedFunc(slices.Values(list), func(a, b tunnel.ID) int { return slices.Compare(a[:], b[:]) })
		}
		if !slices.Equal(sorted(got.Tunnels), sorted(ids)) {
			t.Errorf("%s: got %v, want %v", what, got.Tunnels, ids)
		}
	}
	want("an empty inbox")
	notify(one, two)
	want("two changes", one, two)
	want("nothing new")
	notify(two)
	notify(two)
	want("one of them again", two)
	p.Inbox = 1 << 62 // of a store that lost the inbox
	want("a version that went back", one, two)
	before := p.Inbox
	p.Inbox = 0
	want("a process that has read nothing", one, two)
	if p.Inbox != before {
		t.Errorf("version %d after %d, want it unchanged", p.Inbox, before)
	}
}

// testMarks: supervisors see with the list of the workers which tunnels were marked since they looked last.
func testMarks(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	p := newProcess(t, s, tunnel.WorkerID(unique(t)), "a")
	p.renew(true, long)
	one, two := newTunnel(t), newTunnel(t)
	hinted := s.Watch(t.Context(), lease.TopicStatus)
	<-hinted // the subscription
	// look gives the new version, and which of the two were marked since a version. Other tests mark their own.
	look := func(known uint64) (uint64, []tunnel.ID) {
		t.Helper()
		l, err := s.Fleet(t.Context(), known)
		if err != nil {
			t.Fatalf("Fleet: %v", err)
		}
		if !slices.ContainsFunc(l.Workers, func(w fleet.Worker) bool { return w.ID == p.Worker.ID }) {
			t.Errorf("Fleet(%d) does not list the worker", known)
		}
		var own []tunnel.ID
		for _, id := range []tunnel.ID{one, two} {
			if slices.Contains(l.Marked, id) {
				own = append(own, id)
			}
		}
		return l.Marks, own
	}
	want := func(what string, known uint64, ids ...tunnel.ID) uint64 {
		t.Helper()
		version, got := look(known)
		if !slices.Equal(got, ids) {
			t.Errorf("%s: got %v, want %v", what, got, ids)
		}
		return version
	}
	mark := func(ids ...tunnel.ID) {
		t.Helper()
		if err := s.Mark(t.Context(), ids...); err != nil {
			t.Fatalf("Mark: %v", err)
		}
	}
	before, _ := look(0)
	mark(one, two)
	select {
	case <-hinted:
	case <-t.Context().Done():
		t.Fatal("a mark hints nobody")
	}
	first := want("two marks", before, one, two)
	want("nothing new", first)
	mark(two)
	second := want("one of them again", first, two)
	if second <= first {
		t.Errorf("version %d after %d, want it to grow", second, first)
	}
	if l, err := s.Fleet(t.Context(), second); err != nil || l.Desired {
		t.Errorf("Fleet before a mark of the desired state: %+v, %v", l, err)
	}
	if err := s.MarkDesired(t.Context()); err != nil {
		t.Fatalf("MarkDesired: %v", err)
	}
	if l, err := s.Fleet(t.Context(), second); err != nil || !l.Desired {
		t.Errorf("Fleet after a mark of the desired state: %+v, %v", l, err)
	}
	want("a supervisor that has seen nothing", 0, one, two)
	want("a version that went back", 1<<62, one, two)
}

// testGeneration: a store that lost a renewal that it had confirmed begins a new generation, which all workers see.
func testGeneration(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	p, other := newProcess(t, s, tunnel.WorkerID(unique(t)), "a"), newProcess(t, s, tunnel.WorkerID(unique(t)), "b")
	first := p.renew(true, long).Generation
	if got := other.renew(true, long).Generation; got != first {
		t.Errorf("generation %d of another worker, want %d", got, first)
	}
	p.renew(false, long)
	p.Number = 0 // a call that was late does not look like a loss
	p.Confirmed = 2
	if got := p.renew(false, long).Generation; got != first {
		t.Errorf("generation %d after a late call, want %d", got, first)
	}
	second := first
	eventually(t, "a loss that is not noticed right after another one begins a generation", func() bool {
		p.Number, p.Confirmed = p.Number+1, p.Number+9
		second = p.renew(false, long).Generation
		return second > first
	})
	if err := s.NewGeneration(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := other.renew(false, long).Generation; got <= second {
		t.Errorf("generation %d after a new one began, want more than %d", got, second)
	}
}

// testInstances: a slot of a process that keeps the lease of its whole worker has no end of its own, and belongs to that process alone.
func testInstances(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	s := open(t)
	connected := lease.Status{State: lease.StateConnected}
	send := func(g lease.Grant, instance string) lease.Record {
		t.Helper()
		table, err := s.Report(t.Context(), g.Slot.Tunnel, g.Slot.Connector, g.Worker, instance, []lease.Report{report(g, connected)})
		if err != nil {
			t.Fatalf("Report: %v", err)
		}
		return table.Records[0]
	}
	slots := newSlots(t, 2)
	asked := grantTo(slots[0], "w1", 1)
	asked.Instance = "a"
	g := mustGrant(t, s, asked, 0, short)
	if got := only(t, slotsOf(t, s, slots[0])); got.Instance != "a" || got.Former != "" {
		t.Errorf("granted: %+v, want instance a and no former holder", got)
	}
	eventually(t, "a grant that nobody takes expires", func() bool { return !only(t, slotsOf(t, s, slots[0])).Live })
	if got := send(g, "b"); got.Live || got.Status.State == lease.StateConnected {
		t.Errorf("report of another process: %+v, want no change", got)
	}
	if got := send(g, "a"); !got.Live || got.Instance != "a" || got.Status.State != lease.StateConnected {
		t.Errorf("report of the holder: %+v, want a live slot", got)
	}
	// Another slot gets the address only when the holder's lease is said to have ended, under its epoch.
	other := grantTo(slots[1], "w2", 1)
	_, err := s.Grant(t.Context(), other, 0, long)
	wantError(t, "Grant of the address of a slot that is held", err, tunnel.ErrConflict)
	_, err = s.GrantUnder(t.Context(), 0, other, 0, long, lease.Ended{Index: 0, Epoch: g.Epoch + 1})
	wantError(t, "Grant after the end of another epoch", err, tunnel.ErrConflict)
	if _, err = s.GrantUnder(t.Context(), 0, other, 0, long, lease.Ended{Index: 0, Epoch: g.Epoch}); err != nil {
		t.Errorf("Grant after the end of the holder's lease: %v", err)
	}
	if records := slotsOf(t, s, slots[0]); records[0].Live || !records[1].Live {
		t.Errorf("live: %v and %v, want false and true", records[0].Live, records[1].Live)
	}
	again := grantTo(slots[0], "w3", 2)
	next := mustGrant(t, s, again, g.Epoch, long)
	if got := slotsOf(t, s, slots[0])[0]; got.Instance != "" || got.Former != "w1" {
		t.Errorf("granted to a worker without a lease as a whole: %+v, want no instance, after w1", got)
	}
	if got := send(next, "c"); got.Instance != "c" || !got.Live {
		t.Errorf("report of that worker after an upgrade: %+v, want its instance", got)
	}
}

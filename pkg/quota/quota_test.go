package quota_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/quota"
)

// settled is a Table in which time has gone on for long enough.
func settled() (*quota.Table, time.Duration) {
	t := &quota.Table{}
	t.Renew(0, quota.Ask{Process: "none", Seq: 1})
	t.Renew(quota.Settle, quota.Ask{Process: "none", Seq: 2})
	return t, quota.Settle
}

func TestShares(t *testing.T) {
	table, now := settled()
	table.Renew(now, quota.Ask{Process: "x", Seq: 1}) // keeps the table while the other leaves
	table.Leave("none")
	seq := map[string]uint64{}
	ask := func(what, process string, held, used, want, share uint64) {
		t.Helper()
		seq[process]++
		got := table.Renew(now, quota.Ask{Process: process, Seq: seq[process], Limit: 100, Held: held, Used: used, Want: want})
		if got.Share != share {
			t.Errorf("%s: %+v, want a share of %d", what, got, share)
		}
	}
	ask("two, of which one wants nothing", "a", 25, 25, 31, 65)
	table.Leave("x")
	ask("alone it gets all", "a", 65, 25, 31, 100)
	ask("another one comes, and has what it has", "b", 25, 0, 1, 25)
	ask("the first gives back what it does not want", "a", 100, 25, 31, 65)
	ask("which counts only once it has said so", "b", 25, 0, 1, 25)
	ask("now it does", "a", 65, 25, 31, 65)
	ask("and the other gets its part of the rest", "b", 25, 0, 1, 35)
	ask("one that wants more than there is", "b", 35, 35, 200, 35)
	ask("makes the other shrink to what it wants", "a", 65, 25, 31, 31)
	ask("which it says", "a", 31, 25, 31, 31)
	ask("and gets the rest", "b", 35, 35, 200, 69)
	ask("two that want more share equally", "a", 31, 31, 300, 31)
	ask("the larger one shrinks, without an end of its flows", "b", 69, 69, 300, 50)
	ask("and says how many there are", "b", 60, 60, 300, 50)
	ask("what was given back goes to the other", "a", 31, 31, 300, 40)
	now += quota.StaleAfter
	ask("of one that does not renew only what it uses counts", "a", 40, 31, 300, 40)
	now += quota.StaleAfter
	ask("until it is gone", "a", 40, 40, 300, 100)
	now += quota.GoneAfter
	ask("a table that was lost gives nobody more than it has", "a", 100, 40, 300, 100)
	ask("nor a new one", "b", 25, 0, 300, 25)
	now += quota.Settle
	ask("until it has settled", "a", 100, 40, 300, 50)
}

func TestMessagesThatComeLate(t *testing.T) {
	table, now := settled()
	table.Leave("none")
	first := quota.Ask{Process: "a", Seq: 1, Limit: 10, Held: 2, Used: 2, Want: 10}
	table.Renew(now, first)
	second := quota.Ask{Process: "a", Seq: 2, Limit: 10, Held: 10, Used: 10, Want: 12}
	now += quota.Settle
	table.Renew(now, second)
	table.Renew(now, first) // again
	if got := table.Renew(now, quota.Ask{Process: "b", Seq: 1, Limit: 10, Want: 10}); got.Share != 0 {
		t.Errorf("%+v, want nothing: the other one has all", got)
	}
}

func TestInitialAndWant(t *testing.T) {
	for limit, want := range map[uint64]uint64{1: 1, 3: 1, 9: 1, 20: 2, 100: 10} {
		if got := quota.Initial(limit); got != want {
			t.Errorf("Initial(%d) = %d, want %d", limit, got, want)
		}
	}
	for demand, want := range map[uint64]uint64{0: 1, 1: 1, 8: 8} {
		if got := quota.Want(demand); got != want {
			t.Errorf("Want(%d) = %d, want %d", demand, got, want)
		}
	}
}

// member is a proxy of the simulation.
type member struct {
	name     string
	seq      uint64
	share    uint64
	heard    bool
	used     uint64
	demand   uint64
	next     time.Duration // of its next renewal
	cut      bool          // from the store
	recorded time.Duration // when the store last wrote its record
	// delivered is the number of the last Ask that has arrived.
	delivered uint64
	held      uint64 // at the last check
	known     bool   // to the store, at the last check
}

func (m *member) limit(all uint64) uint64 {
	if !m.heard {
		return quota.Initial(all)
	}
	return m.share
}

// message is an Ask on its way. The answer is lost when lost is set.
type message struct {
	at   time.Duration
	from int
	ask  quota.Ask
	lost bool
}

// simulation is one run with a seed.
type simulation struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	now     time.Duration
	limit   uint64
	table   quota.Table
	members []*member
	wire    []message
	made    int
	lost    time.Duration // when the store last lost all
	calm    bool          // demands stay
}

func (s *simulation) join() {
	s.made++
	s.members = append(s.members, &member{name: fmt.Sprint("p", s.made), next: s.now})
}

// step lets some time pass.
func (s *simulation) step() {
	s.now += time.Duration(s.r.IntN(100)) * time.Millisecond
	for i, m := range s.members {
		switch s.r.IntN(12) {
		case 0:
			if s.calm {
				break
			}
			m.demand = uint64(s.r.IntN(int(s.limit) + 2))
		case 1, 2, 3, 4:
			for range s.r.IntN(8) {
				if m.used < m.demand && m.used < m.limit(s.limit) {
					m.used++
				}
			}
		case 5, 6:
			m.used -= uint64(s.r.IntN(int(m.used) + 1))
		}
		if s.now >= m.next {
			m.next = s.now + quota.RenewEvery
			m.seq++
			a := quota.Ask{
				Process: m.name, Seq: m.seq, Limit: s.limit, Held: max(m.limit(s.limit), m.used), Used: m.used, Want: quota.Want(max(m.used, m.demand)),
			}
			if !m.cut {
				// A share is asked for again only after an answer or after the store's time bound, so at most one is late.
				late := time.Duration(s.r.IntN(300)) * time.Millisecond
				s.wire = append(s.wire, message{s.now + late, i, a, s.r.IntN(10) == 0})
			}
		}
	}
	s.deliver()
	s.check()
}

func (s *simulation) deliver() {
	rest := s.wire[:0]
	for _, msg := range s.wire {
		if msg.at > s.now {
			rest = append(rest, msg)
			continue
		}
		if msg.from >= len(s.members) || s.members[msg.from].name != msg.ask.Process {
			s.table.Renew(s.now, msg.ask) // of one that has died
			continue
		}
		m := s.members[msg.from]
		answer := s.table.Renew(s.now, msg.ask)
		if msg.ask.Seq > m.delivered {
			m.delivered, m.recorded = msg.ask.Seq, s.now
		}
		if !msg.lost && msg.ask.Seq == m.seq {
			m.share, m.heard = answer.Share, true
		}
		if s.r.IntN(20) == 0 { // the same once more, later
			rest = append(rest, message{s.now + time.Second, msg.from, msg.ask, true})
		}
	}
	s.wire = rest
}

// fault breaks something.
func (s *simulation) fault(stores bool) {
	i := s.r.IntN(len(s.members))
	switch s.r.IntN(6) {
	case 0: // dies, and another one comes
		s.members[i] = &member{name: fmt.Sprint("p", s.made+1), next: s.now}
		s.made++
	case 1:
		s.members[i].cut = true
	case 2:
		s.members[i].cut = false
	case 3:
		if len(s.members) < 6 {
			s.join()
		}
	case 4: // ends in order
		if len(s.members) > 1 {
			s.table.Leave(s.members[i].name)
			s.members = append(s.members[:i], s.members[i+1:]...)
			s.wire = nil
		}
	case 5:
		if stores {
			s.table, s.lost = quota.Table{}, s.now
		}
	}
}

// holds is what a member may use, or uses.
func (s *simulation) holds(m *member) uint64 { return max(m.limit(s.limit), m.used) }

// check compares the places in use with what package quota promises: those of the processes that the store knows are no more than the
// limit, or become no more. The others have no more than their last share, or the first one of their own.
func (s *simulation) check() {
	s.t.Helper()
	var now, before, fresh uint64
	for _, m := range s.members {
		held := s.holds(m)
		if m.used > held || !m.heard && held > max(quota.Initial(s.limit), m.used) {
			s.t.Fatalf("seed %d at %v: %+v holds %d", s.seed, s.now, *m, held)
		}
		known := m.heard && m.recorded > s.lost && s.now-m.recorded < quota.StaleAfter
		if !m.known && known { // brings what it has
			m.held, fresh = held, fresh+held
		}
		if known {
			now, before = now+held, before+m.held
		}
		m.held, m.known = held, known
	}
	if now > max(s.limit+fresh, before) {
		s.t.Fatalf("seed %d at %v: known processes hold %d places of %d, and held %d: %+v", s.seed, s.now, now, s.limit, before, s.table)
	}
}

// TestSimulation: whatever is lost, late, cut off or dead, no more places are in use than is promised; and when all is well again, all
// that is wanted can be had, up to the limit.
func TestSimulation(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 14))
		s := &simulation{t: t, seed: seed, r: r, limit: uint64(1 + r.IntN(60))}
		for range 1 + r.IntN(4) {
			s.join()
		}
		for i := range 1500 {
			if i%40 == 39 && i < 1200 {
				s.fault(seed%4 != 0)
			}
			s.step()
		}
		s.recover()
	}
}

// recover lets everything work, and every process want more than there is.
func (s *simulation) recover() {
	s.t.Helper()
	s.calm = true
	for _, m := range s.members {
		m.cut, m.used, m.demand = false, 0, s.limit+1
	}
	end := s.now + quota.GoneAfter + 10*quota.Lease
	for s.now < end {
		s.step()
	}
	var shares, least uint64
	for i, m := range s.members {
		shares += m.share
		if i == 0 || m.share < least {
			least = m.share
		}
	}
	if n := uint64(len(s.members)); shares > s.limit || shares+n < s.limit || s.limit >= n && least == 0 {
		s.t.Fatalf("seed %d: shares of %d in all for %d processes, the least %d, limit %d", s.seed, shares, n, least, s.limit)
	}
}

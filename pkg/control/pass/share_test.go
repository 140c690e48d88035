package pass

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// with is the reply to a supervisor that leads with others.
func with(term lease.Term, view uint64, others ...string) LeadReply {
	members := append([]string{"s1"}, others...)
	slices.Sort(members)
	return LeadReply{Lead: lease.Lead{Holds: true, Term: term, Before: term}, Team: lease.Team{Members: members, View: view}}
}

// TestSharedTunnels: a supervisor reads the tunnels of its own shards only; those that it gets are read at once, and those that it keeps
// are not read again.
func TestSharedTunnels(t *testing.T) {
	p := newPlant(t)
	five, six := p.records[tunnel.ID{5}], p.records[tunnel.ID{6}] // so that each part is as even as the whole
	five.Worker, five.Instance, six.Worker, six.Instance = six.Worker, six.Instance, five.Worker, five.Instance
	p.records[tunnel.ID{5}], p.records[tunnel.ID{6}] = five, six
	p.calm()
	mine := func(members ...string) []byte {
		owners := shard.Owners(members)
		var out []byte
		for i := range byte(6) {
			if owners[shard.Of(tunnel.ID{i + 1})] == "s1" {
				out = append(out, i+1)
			}
		}
		return out
	}
	few := mine("s1", "s2")
	if len(few) == 0 || len(few) == 6 {
		t.Fatalf("the tunnels are no example: s1 has %v of them", few)
	}
	p.team, p.term = lease.Team{Members: []string{"s1", "s2"}, View: 1}, 9
	p.want("another one joins", time.Second, Ticked{})
	for i := range byte(6) {
		p.marked = append(p.marked, tunnel.ID{i + 1})
	}
	p.marks++
	p.want("all are marked", time.Second, Ticked{}, few...)
	p.team, p.term = lease.Team{Members: []string{"s1"}, View: 2}, 10
	var gained []byte
	for i := range byte(6) {
		if !slices.Contains(few, i+1) {
			gained = append(gained, i+1)
		}
	}
	p.want("the other one is gone", time.Second, Ticked{}, gained...)
	p.team, p.term = lease.Team{Members: []string{"s1"}, View: 4}, 11
	p.want("others came and went unseen", time.Second, Ticked{}, 1, 2, 3, 4, 5, 6)
}

// TestJoinsWhenSettled: a supervisor asks to join others only when it knows what an absence means; before, it leads if nobody else does.
func TestJoinsWhenSettled(t *testing.T) {
	r := newRun(t)
	joins := func(what string, e Event, want bool) {
		t.Helper()
		actions := stepOf(r.m, r.now, e)
		if a, ok := actions[len(actions)-1].(TakeLead); !ok || a.Join != want {
			t.Errorf("%s: %s, join %v, want %v", what, describe(actions), a.Join, want)
		}
	}
	joins("at the start", Started{}, false)
	r.steps(step{0, LeadReply{}, "ListWorkers"}, step{0, WorkersReply{}, "StoreUp again=false; " + standby}, step{0, Rested{}, ""})
	r.now = r.now.Add(SettleTime - time.Millisecond)
	joins("before it has settled", Ticked{}, false)
	r.steps(step{0, LeadReply{}, standby}, step{time.Millisecond, Rested{}, ""})
	joins("then", Ticked{}, true)
	r.steps(step{0, with(7, 1, "s2"), "SharesChanged 32 of 2; LeadChanged true; ListWorkers"})
}

// TestPlansOfOthersAreLeft: a lead under which other members are in charge begins a pass anew, and one with the same members goes on.
func TestPlansOfOthersAreLeft(t *testing.T) {
	r := newRun(t)
	r.steps(
		step{0, Started{}, take},
		step{0, with(7, 1), "LeadChanged true; ListWorkers"},
		step{time.Second, workersOf(tunnelA), take},
		step{0, with(7, 1), `ReadPool ""`},
		step{time.Second, poolOf(3), take},
		step{0, with(9, 2, "s2"), "SharesChanged 32 of 2; PlanOutdated (the lead was lost during the pass); StoreUp again=false; " + rest},
	)
}

// TestLostShare: a share that ended although it was renewed in time means that the store lost data. One of a member that was away does not.
func TestLostShare(t *testing.T) {
	fresh := with(8, 2)
	fresh.Team.Fresh = true
	r := newRun(t)
	r.steps(firstPass()...)
	r.steps(step{0, Rested{}, ""}, step{time.Second, Ticked{}, take}, step{0, fresh, "Trouble loss (the store lost data); ListWorkers"})
	r = newRun(t)
	r.steps(firstPass()...)
	r.steps(step{0, Rested{}, ""}, step{LeadTTL, Ticked{}, take}, step{0, fresh, "ListWorkers"})
}

// TestPacer: supervisors together grant no faster than the deployment may register, whatever their number, and none waits for too long.
func TestPacer(t *testing.T) {
	for members := 1; members <= 12; members++ {
		starts := map[int]int{}
		pacers := make([]pacer, members)
		random := rand.New(rand.NewPCG(uint64(members), 1))
		now := time.Unix(1000, 0)
		granted, refused := 0, 0
		for range 20_000 {
			now = now.Add(time.Duration(random.IntN(4)) * time.Millisecond)
			wait, ok := pacers[random.IntN(members)].take(now, members)
			if !ok {
				refused++
				continue
			}
			if wait > grantWait {
				t.Fatalf("%d members: a wait of %v", members, wait)
			}
			granted++
			starts[int(now.Add(wait).Sub(time.Unix(1000, 0))/time.Second)]++
		}
		most := 0
		for _, n := range starts {
			most = max(most, n)
		}
		if most > grantRate+2*grantBurst || refused == 0 || granted < 30*grantRate {
			t.Errorf("%d members: up to %d starts in a second; %d granted, %d refused", members, most, granted, refused)
		}
	}
	var p pacer
	if wait, ok := p.take(time.Unix(1000, 0), 0); wait != 0 || !ok {
		t.Errorf("the first grant waits %v, %v", wait, ok)
	}
}

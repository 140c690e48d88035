package retain

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var (
	errServfail = errors.New("SERVFAIL")
	start       = time.Unix(1000, 0)
)

// away is how the store says that it is unavailable.
func away() error { return fmt.Errorf("call: %w: refused", tunnel.ErrUnavailable) }

// poolOf has one address in each of n regions.
func poolOf(version uint64, n int) edgepool.Pool {
	p := edgepool.Pool{Version: version, Source: edgepool.SourceSRV}
	for i := 1; i <= n; i++ {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 7844)
		p.Regions = append(p.Regions, edgepool.RegionPool{Name: tunnel.Region(fmt.Sprint("region", i)), V4: []netip.AddrPort{a}})
	}
	return p
}

func described(p edgepool.Pool, protocol, feature string) edgepool.Pool {
	p.ProtocolTXT, p.FeatureTXT = protocol, feature
	return p
}

func describe(actions []Action) string {
	parts := make([]string, len(actions))
	for i, a := range actions {
		name := strings.TrimPrefix(fmt.Sprintf("%T", a), "retain.")
		switch a := a.(type) {
		case TakeLead:
			name = fmt.Sprintf("%s %s %s %v", name, a.Role, a.Holder, a.TTL)
		case ReadPool:
			name = fmt.Sprintf("%s %q", name, a.Name)
		case Publish:
			name = fmt.Sprintf("%s %q %d regions %q %q", name, a.Name, len(a.Pool.Regions), a.Pool.ProtocolTXT, a.Pool.FeatureTXT)
		case Hint:
			name = fmt.Sprintf("%s %s", name, a.Topic)
		case ReadLeader:
			name = fmt.Sprintf("%s %s", name, a.Role)
		case ResignLead:
			name = fmt.Sprintf("%s %s %s", name, a.Role, a.Holder)
		case Wait:
			name = fmt.Sprintf("%s %v", name, a.For)
		case LeadChanged:
			name = fmt.Sprintf("%s %v", name, a.Leading)
		case Published:
			name = fmt.Sprintf("%s version %d", name, a.Version)
		case LookedUp:
			name = fmt.Sprintf("%s (%v) news=%v", name, a.Err, a.News)
		case Observed:
			name = fmt.Sprintf("%s %q version %d since %v", name, a.Leader, a.Pool.Version, a.Since.Sub(start))
		case RoundEnded:
			name = fmt.Sprintf("%s (%v)", name, a.Err)
		case StoreUp:
			name = fmt.Sprintf("%s again=%v", name, a.Again)
		}
		parts[i] = strings.ReplaceAll(name, "\n", ", ")
	}
	return strings.Join(parts, "; ")
}

// step is one event, some time after the last one, and the actions that it leads to.
type step struct {
	after time.Duration
	event Event
	want  string
}

// newMachine draws the longest waits.
func newMachine() *Machine {
	return NewMachine(Config{ID: "d1", Name: "p", Refresh: time.Minute, Random: func(n int64) int64 { return n - 1 }})
}

func join(parts ...[]step) []step {
	var all []step
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

const (
	take   = "TakeLead discovery:p d1 15s"
	leader = "ReadLeader discovery:p"
	read   = `ReadPool "p"`
)

// play hands the events to the machine and compares what it does.
func play(t *testing.T, m *Machine, steps []step) {
	t.Helper()
	now := start
	for i, s := range steps {
		now = now.Add(s.after)
		if got := describe(m.Step(now, s.event)); got != s.want {
			t.Fatalf("step %d, %T%+v:\n got %s\nwant %s", i, s.event, s.event, got, s.want)
		}
	}
}

// A pool of a former run is published when there is none, and the lookup is repeated soon; it replaces no published one.
func TestPoolOfAFormerRun(t *testing.T) {
	stale := errors.New("no response")
	begin := []step{
		{0, Due{}, take},
		{0, LeadReply{Leading: true}, "LeadChanged true; Lookup"},
		{3 * time.Second, LookupReply{Pool: described(poolOf(0, 2), "shares", ""), Stale: stale}, read},
	}
	for name, steps := range map[string][]step{
		"none published": {
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "shares" ""`},
			{0, PublishReply{Version: 1}, "Published version 1; LookedUp (no response) news=true; Hint pools"},
			{0, HintReply{}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 3s; RoundEnded (<nil>); StoreUp again=false; Wait 1.999999999s`},
			{2 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
		},
		"one published": {
			{0, PoolReply{Pool: poolOf(4, 2)}, "LookedUp (no response) news=true; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(4, 2)}, `Observed "d1" version 4 since 3s; RoundEnded (<nil>); StoreUp again=false; Wait 1.999999999s`},
		},
	} {
		t.Run(name, func(t *testing.T) { play(t, newMachine(), join(begin, steps)) })
	}
}

// published is a first round that publishes two regions as version 1.
func published() []step {
	return []step{
		{0, Due{}, take},
		{0, LeadReply{Leading: true}, "LeadChanged true; Lookup"},
		{0, LookupReply{Pool: described(poolOf(0, 2), "shares", "features")}, read},
		{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "shares" "features"`},
		{0, PublishReply{Version: 1}, "Published version 1; LookedUp (<nil>) news=false; Hint pools"},
		{0, HintReply{}, leader},
		{0, LeaderReply{Leader: "d1"}, read},
		{
			0,
			PoolReply{Pool: described(poolOf(1, 2), "shares", "features")},
			`Observed "d1" version 1 since 0s; RoundEnded (<nil>); StoreUp again=false; Wait 5s`,
		},
	}
}

func TestStories(t *testing.T) {
	for name, steps := range map[string][]step{
		"on standby": {
			{0, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Observed "d2" version 3 since 0s; RoundEnded (<nil>); StoreUp again=false; Wait 5s`},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Observed "" version 3 since 0s; RoundEnded (<nil>); Wait 5s`},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Pool: poolOf(4, 2)}, `Observed "d2" version 4 since 10s; RoundEnded (<nil>); Wait 5s`},
		},
		"the same pool again wakes nobody": join(published(), []step{
			{time.Minute, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: described(poolOf(0, 2), "shares", "features")}, read},
			{0, PoolReply{Pool: described(poolOf(1, 2), "shares", "features")}, `Publish "p" 2 regions "shares" "features"`},
			{0, PublishReply{Version: 2}, "LookedUp (<nil>) news=false; " + leader},
		}),
		"no lookup before it is due": join(published(), []step{
			{time.Minute - time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 1s`},
		}),
		"records that were not read stay": join(published(), []step{
			{time.Minute, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: poolOf(0, 3)}, read},
			{0, PoolReply{Pool: described(poolOf(1, 2), "shares", "features")}, `Publish "p" 3 regions "shares" "features"`},
			{0, PublishReply{Version: 2}, "Published version 2; LookedUp (<nil>) news=false; Hint pools"},
			{0, HintReply{Err: away()}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{
				0,
				PoolReply{Pool: poolOf(2, 3)},
				`Observed "d1" version 2 since 1m0s; RoundEnded (call: unavailable: refused); StoreDown; Wait 1s`,
			},
		}),
		"a store that lost the pool gets it back at the next look": join(published(), []step{
			{5 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "shares" "features"`},
			{0, PublishReply{Version: 9}, "Published version 9; Hint pools"},
			{0, HintReply{}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{
				0,
				PoolReply{Pool: described(poolOf(9, 2), "shares", "features")},
				`Observed "d1" version 9 since 5s; RoundEnded (<nil>); Wait 5s`,
			},
		}),
		"an older pool is replaced once a round, whatever the versions are": join(published(), []step{
			{time.Minute, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: described(poolOf(0, 3), "shares", "features")}, read},
			{0, PoolReply{Pool: described(poolOf(1, 2), "shares", "features")}, `Publish "p" 3 regions "shares" "features"`},
			{0, PublishReply{Version: 8}, "Published version 8; LookedUp (<nil>) news=false; Hint pools"},
			{0, HintReply{}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Publish "p" 3 regions "shares" "features"`},
			{0, PublishReply{Version: 4}, "Published version 4; Hint pools"},
			{0, HintReply{}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Observed "d1" version 3 since 1m0s; RoundEnded (<nil>); Wait 5s`},
		}),
		"no pool is restored by a replica that lost the lead, or without the store": join(published(), []step{
			{5 * time.Second, Due{}, take},
			{0, LeadReply{}, "LeadChanged false; " + leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{
				0,
				PoolReply{Err: tunnel.ErrNotFound},
				`Observed "d2" version 0 since 5s; RoundEnded (<nil>); Wait 5s`,
			},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "LeadChanged true; " + leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Observed "d2" version 0 since 5s; RoundEnded (<nil>); Wait 5s`},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "shares" "features"`},
			{0, PublishReply{Err: away()}, "RoundEnded (call: unavailable: refused); StoreDown; Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "shares" "features"`},
			{0, PublishReply{Err: tunnel.ErrConflict}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(0, 2)}, `Observed "d1" version 0 since 5s; RoundEnded (<nil>); StoreUp again=true; Wait 5s`},
		}),
		"a hint that failed is sent again": join(published()[:5], []step{
			{0, HintReply{Err: away()}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (call: unavailable: refused); StoreDown; Wait 1s`},
			{time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Hint pools"},
			{0, HintReply{}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); StoreUp again=true; Wait 5s`},
		}),
		"a lead that was lost during a lookup publishes nothing": {
			{0, Due{}, take},
			{0, LeadReply{Leading: true}, "LeadChanged true; Lookup"},
			{9 * time.Second, LookupReply{Pool: poolOf(0, 2)}, take},
			{0, LeadReply{}, "LeadChanged false; " + leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Observed "d2" version 3 since 9s; RoundEnded (<nil>); StoreUp again=false; Wait 5s`},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "LeadChanged true; Lookup"},
			{9 * time.Second, LookupReply{Pool: poolOf(0, 2)}, take},
			{0, LeadReply{Err: away()}, "RoundEnded (call: unavailable: refused); StoreDown; Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{9 * time.Second, LookupReply{Pool: poolOf(0, 2)}, take},
			{0, LeadReply{Leading: true}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Publish "p" 2 regions "" ""`},
		},
		"a hint asks for a lookup, at most every 10 s": join(published(), []step{
			{3 * time.Second, Asked{}, "Wait 5s"},
			{time.Second, Due{}, ""},
			{time.Second, Asked{}, ""},
			{3 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 2s`},
			{2 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, Asked{}, ""},
			{0, LookupReply{Err: errServfail}, "LookedUp (SERVFAIL) news=true; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 1.999999999s`},
		}),
		"a hint long after the last lookup asks for one at once": join(published(), []step{
			{30 * time.Second, Asked{}, "Wait 0s"},
			{0, Due{}, take},
			{0, Asked{}, ""},
			{0, LeadReply{Leading: true}, "Lookup"},
		}),
		"a replica on standby is not asked": {
			{0, Asked{}, ""},
			{0, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Pool: poolOf(3, 2)}, `Observed "d2" version 3 since 0s; RoundEnded (<nil>); StoreUp again=false; Wait 5s`},
			{time.Second, Asked{}, ""},
		},
		"failed lookups are repeated after growing waits": join(published(), []step{
			{time.Minute, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Err: errServfail}, "LookedUp (SERVFAIL) news=true; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 1.999999999s`},
			{2 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Err: errServfail}, "LookedUp (SERVFAIL) news=false; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 3.999999999s`},
			{4 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: poolOf(0, 1)}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Publish "p" 1 regions "" ""`},
			{0, PublishReply{Err: tunnel.ErrConflict}, "LookedUp (conflict) news=false; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 5s`},
			{5 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d1" version 1 since 0s; RoundEnded (<nil>); Wait 2.999999999s`},
			{3 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: poolOf(0, 2)}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Publish "p" 2 regions "" ""`},
			{0, PublishReply{Version: 2}, "LookedUp (<nil>) news=true; " + leader},
			{0, LeaderReply{Leader: "d1"}, read},
			{0, PoolReply{Pool: poolOf(2, 2)}, `Observed "d1" version 2 since 1m14s; RoundEnded (<nil>); Wait 5s`},
		}),
		"the store is away": {
			{0, Due{}, take},
			{0, LeadReply{Err: away()}, "RoundEnded (call: unavailable: refused); StoreDown; Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{Err: away()}, "RoundEnded (call: unavailable: refused); Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{Err: away()}, "RoundEnded (call: unavailable: refused); Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{}, leader},
			{0, LeaderReply{}, read},
			{0, PoolReply{Err: away()}, "RoundEnded (call: unavailable: refused); Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "LeadChanged true; Lookup"},
			{0, LookupReply{Pool: poolOf(0, 2)}, read},
			{0, PoolReply{Err: away()}, "LookedUp (call: unavailable: refused) news=true; " + leader},
			{0, LeaderReply{}, read},
			{
				0,
				PoolReply{Err: tunnel.ErrNotFound},
				`Observed "" version 0 since ` + time.Time{}.Sub(start).String() + `; RoundEnded (call: unavailable: refused); Wait 1s`,
			},
			{2 * time.Second, Due{}, take},
			{0, LeadReply{Leading: true}, "Lookup"},
			{0, LookupReply{Pool: poolOf(0, 2)}, read},
			{0, PoolReply{Err: tunnel.ErrNotFound}, `Publish "p" 2 regions "" ""`},
			{0, PublishReply{Err: away()}, "LookedUp (call: unavailable: refused) news=false; " + leader},
			{0, LeaderReply{Err: away()}, "RoundEnded (call: unavailable: refused, call: unavailable: refused); Wait 1s"},
			{time.Second, Due{}, take},
			{0, LeadReply{}, "LeadChanged false; " + leader},
			{0, LeaderReply{Leader: "d2"}, read},
			{0, PoolReply{Pool: poolOf(1, 2)}, `Observed "d2" version 1 since 7s; RoundEnded (<nil>); StoreUp again=true; Wait 5s`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, newMachine(), steps)
		})
	}
}

// TestStop: whatever the replica does, it gives the lead up, and ignores the reply that is outstanding.
func TestStop(t *testing.T) {
	for n := 0; n <= len(published()); n++ {
		m := newMachine()
		if !errors.Is(m.Problem(), ErrStarting) || m.Leading() {
			t.Fatalf("before the first round: Problem() = %v, Leading() = %v", m.Problem(), m.Leading())
		}
		for _, s := range published()[:n] {
			m.Step(start, s.event)
		}
		if got, want := describe(m.Step(start, Stopped{})), "ResignLead discovery:p d1"; got != want {
			t.Errorf("after %d events: %s, want %s", n, got, want)
		}
		for _, late := range []Event{
			Due{}, LeadReply{}, LookupReply{}, PoolReply{}, PublishReply{}, HintReply{}, LeaderReply{}, Stopped{},
		} {
			if got := m.Step(start, late); got != nil {
				t.Errorf("after %d events: %T led to %s", n, late, describe(got))
			}
		}
		reply, want := ResignReply{}, "Done"
		if n%2 == 1 {
			reply, want = ResignReply{Err: away()}, "LeadNotResigned; Done"
		}
		if got := describe(m.Step(start, reply)); got != want {
			t.Errorf("after the lead was given up: %s, want %s", got, want)
		}
		if got := m.Step(start, reply); got != nil {
			t.Errorf("a second reply led to %s", describe(got))
		}
	}
}

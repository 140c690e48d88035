package pass

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// calls counts the calls and waits among actions, and reports whether the last action is one.
func calls(actions []Action) (n int, last bool) {
	for _, a := range actions {
		last = false
		switch a.(type) {
		case LeadChanged, SharesChanged, Observed, SlotGranted, SlotReleased, PlanOutdated, Short, StoreUp, StoreDown, Trouble, LeadNotResigned:
		default:
			n, last = n+1, true
		}
	}
	return n, last
}

// reply is a reply to the call, by chance one with an error.
func reply(t *testing.T, r *rand.Rand, call Action) Event {
	t.Helper()
	if r.IntN(12) == 0 {
		errs := []error{away(), errDecode, tunnel.ErrConflict, tunnel.ErrFenced, tunnel.ErrNotFound}
		if _, release := call.(Release); release {
			return ReleaseReply{Err: errs[r.IntN(len(errs))]}
		}
		return failing(t, call, errs[r.IntN(len(errs))])
	}
	switch a := call.(type) {
	case TakeLead:
		return LeadReply{Lead: lease.Lead{Holds: r.IntN(8) > 0, Term: 7, Before: 7}}
	case ListWorkers:
		return workersOf([]tunnel.ID{tunnelA, tunnelB}[:r.IntN(3)]...)
	case ReadPool:
		return poolOf(r.IntN(5))
	case ReadConnector:
		if r.IntN(9) == 0 {
			return ConnectorReply{Err: tunnel.ErrNotFound}
		}
		return ConnectorReply{ID: tunnel.ConnectorID{a.Tunnel[0]}}
	case EnsureConnector:
		return ConnectorReply{ID: a.Candidate}
	case ReadSlots:
		states := []lease.State{lease.StateGranted, lease.StateConnected, lease.StateFailed, lease.StateDraining}
		var s []lease.State
		for range 4 { // a store loses all records or none
			s = append(s, states[r.IntN(len(states))])
		}
		slots := slotsOf(s...)
		for i := range slots.Records {
			slots.Records[i].Slot.Tunnel = a.Tunnel
		}
		return slots
	case ReadProved:
		return ProvedReply{Proved: r.IntN(2) == 0}
	case Grant:
		return GrantReply{Granted: a.Grant.Grant}
	case Release:
		return ReleaseReply{}
	case Hint:
		return HintReply{}
	case Notify:
		return NotifyReply{}
	case BeginGeneration:
		return GenerationReply{}
	}
	t.Fatalf("nothing replies to %T", call)
	return nil
}

// TestRandomConversations: whatever the store replies, the machine has one call or one wait outstanding at any time or waits for the next
// event, plans only while it leads, and reads again after every pass.
func TestRandomConversations(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := NewMachine(Config{ID: "s1", Connections: 2, Random: r.IntN, Entropy: chance{r}})
		now := time.Unix(1000, 0)
		passes, grants := 0, 0
		actions := stepOf(m, now, Started{})
		for range 2000 {
			now = now.Add(time.Duration(r.IntN(100)) * time.Millisecond)
			n, last := calls(actions)
			if n > 1 || (n == 1 && !last) {
				t.Fatalf("seed %d: %s", seed, describe(actions))
			}
			if n == 0 {
				if len(actions) > 0 {
					t.Fatalf("seed %d: %s, and nothing more", seed, describe(actions))
				}
				actions = stepOf(m, now, Ticked{})
				continue
			}
			switch a := actions[len(actions)-1].(type) {
			case Rest:
				passes++
				actions = stepOf(m, now, Rested{})
			case Grant, Release:
				grants++
				if !m.Leading() {
					t.Fatalf("seed %d: %s without the lead", seed, describe(actions))
				}
				actions = stepOf(m, now, reply(t, r, a))
			default:
				actions = stepOf(m, now, reply(t, r, a))
			}
		}
		if passes < 50 || grants < 5 {
			t.Errorf("seed %d: %d passes and %d grants in 2000 steps, want 50 and 5 at least", seed, passes, grants)
		}
	}
}

// chance is random bytes.
type chance struct{ rand *rand.Rand }

func (c chance) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.rand.Uint32())
	}
	return len(b), nil
}

package pass

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var (
	tunnelA = tunnel.ID{0xa}
	tunnelB = tunnel.ID{0xb}
	// idA is the connector id that the entropy of a test gives first.
	idA = tunnel.ConnectorID{1, 1, 1, 1, 1, 1, 0x41, 1, 0x81, 1, 1, 1, 1, 1, 1, 1}

	errDecode = errors.New("stored record: unexpected end")
)

// away is how the store says that it is unavailable.
func away() error { return fmt.Errorf("call: %w: refused", tunnel.ErrUnavailable) }

func newMachine() *Machine {
	return NewMachine(Config{
		ID: "s1", Connections: 2, Random: func(int) int { return 0 }, Entropy: bytes.NewReader(bytes.Repeat([]byte{1}, 16)),
	})
}

func addr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844)
}

// poolOf has n addresses in two regions: enough for n-1 connections.
func poolOf(n int) PoolReply {
	p := edgepool.Pool{Version: 1, Regions: []edgepool.RegionPool{{Name: "region1"}, {Name: "region2"}}}
	for i := 1; i <= n; i++ {
		r := &p.Regions[1-i%2]
		r.V4 = append(r.V4, addr(i))
	}
	return PoolReply{Pool: p}
}

// workers have one host each and serve the tunnels.
func workersOf(tunnels ...tunnel.ID) WorkersReply {
	w := fleet.Worker{ID: "w1", Host: "h1", Capacity: 10}
	for _, t := range tunnels {
		w.Tunnels = append(w.Tunnels, fleet.TunnelRef{ID: t})
	}
	return WorkersReply{Listing: fleet.Listing{Workers: []fleet.Worker{w}}}
}

// slotsOf are slots of w1 with these states, in turn.
func slotsOf(states ...lease.State) SlotsReply {
	var r SlotsReply
	for i, s := range states {
		record := lease.Record{Live: true, Status: lease.Status{State: s}}
		record.Slot = tunnel.Slot{Tunnel: tunnelA, Connector: idA, Index: tunnel.ConnIndex(i)}
		record.Worker, record.Epoch = "w1", tunnel.Epoch(100+i)
		record.Edge = tunnel.EdgeAddr{Addr: addr(i + 1), Region: tunnel.Region(fmt.Sprint("region", i%2+1))}
		r.Records = append(r.Records, record)
	}
	return r
}

func describe(actions []Action) string {
	var parts []string
	for _, a := range actions {
		name := strings.TrimPrefix(fmt.Sprintf("%T", a), "pass.")
		switch a := a.(type) {
		case SharesChanged:
			if a.Members < 2 {
				continue
			}
			name = fmt.Sprintf("%s %d of %d", name, a.Own, a.Members)
		case TakeLead:
			name = fmt.Sprintf("%s %s %s %v", name, a.Role, a.Holder, a.TTL)
			if a.Seen > 7 { // than the term of most tests
				name += fmt.Sprintf(" seen %d", a.Seen)
			}
		case ReadPool:
			name = fmt.Sprintf("%s %q", name, a.Name)
		case EnsureConnector:
			name = fmt.Sprintf("%s %x as %x", name, a.Tunnel[:1], a.Candidate[:1])
		case ReadSlots:
			name = fmt.Sprintf("%s %x/%x under %d", name, a.Tunnel[:1], a.Connector[:1], a.Term)
		case ReadProved:
			name = fmt.Sprintf("%s %x/%x", name, a.Tunnel[:1], a.Connector[:1])
		case Grant:
			name = fmt.Sprintf("%s %d to %s at %s expecting %d for %v: %s", name, a.Slot.Index, a.Worker, a.Edge, a.Expect, a.TTL, a.Cause)
			if a.Above != a.Expect { // the store lost it
				name += fmt.Sprintf(" above %d", a.Above)
			}
		case Release:
			name = fmt.Sprintf("%s %d of %s epoch %d: %s", name, a.Slot.Index, a.Worker, a.Epoch, a.Cause)
		case AskReconnect:
			name = fmt.Sprintf("%s %d epoch %d", name, a.Slot.Index, a.Epoch)
		case AnswerCommand:
			name = fmt.Sprintf("%s %s %s", name, a.Command, a.Outcome)
		case CommandAnswered:
			name = fmt.Sprintf("%s %s %s", name, a.Command, a.Outcome)
		case Hint:
			name = fmt.Sprintf("%s %s", name, a.Topic)
		case ResignLead:
			name = fmt.Sprintf("%s %s %s", name, a.Role, a.Holder)
		case Rest:
			name = fmt.Sprintf("%s %v", name, a.For)
		case LeadChanged:
			name = fmt.Sprintf("%s %v", name, a.Leading)
		case Observed:
			name = fmt.Sprintf("%s unsettled=%v", name, a.World.Unsettled)
		case SlotGranted:
			name = fmt.Sprintf("%s %d epoch %d", name, a.Slot.Index, a.Granted.Epoch)
		case SlotReleased:
			name = fmt.Sprintf("%s %d", name, a.Slot.Index)
		case PlanOutdated:
			name = fmt.Sprintf("%s (%v)", name, a.Err)
		case Short:
			name = fmt.Sprintf("%s %d of %d with %d", name, a.Possible, a.Desired, a.Addresses)
		case StoreUp:
			name = fmt.Sprintf("%s again=%v", name, a.Again)
		case ReadConnector:
			name = fmt.Sprintf("%s %x", name, a.Tunnel[:1])
		case Trouble:
			name = fmt.Sprintf("%s %s (%v)", name, a.Kind, a.Err)
		case StoreDown:
			name = fmt.Sprintf("%s (%v)", name, a.Problem)
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, "; ")
}

// step is one event, some time after the last one, and the actions that it leads to.
type step struct {
	after time.Duration
	event Event
	want  string
}

// machine runs steps.
type run struct {
	t   *testing.T
	m   *Machine
	now time.Time
}

func newRun(t *testing.T) *run { return &run{t: t, m: newMachine(), now: time.Unix(1000, 0)} }

func (r *run) steps(steps ...step) {
	r.t.Helper()
	for i, s := range steps {
		r.now = r.now.Add(s.after)
		got := describe(stepOf(r.m, r.now, s.event))
		if s.want == nothing && strings.HasPrefix(got, nothing) && !strings.Contains(got, "Grant") {
			continue
		}
		if got != s.want {
			r.t.Fatalf("step %d, %T%+v:\n got %s\nwant %s", i, s.event, s.event, got, s.want)
		}
	}
}

// leads is the reply to a leader with a term.
func leads(t lease.Term) LeadReply {
	return LeadReply{Lead: lease.Lead{Holds: true, Term: t, Before: t}}
}

// nothing stands for a pass that grants nothing.
const nothing = "Observed"

// standby is a machine's wait while another one leads.
const standby = "Rest 1s"

const (
	take = "TakeLead supervisor s1 4s"
	rest = "Rest 10ms"
)

// lead brings a fresh machine to its first list of workers.
func lead() []step {
	return []step{
		{0, Started{}, take},
		{0, leads(7), "LeadChanged true; ListWorkers"},
	}
}

// again brings a machine that leads and rests to the list of workers of its next pass.
func again(after time.Duration) []step {
	return []step{
		{0, Rested{}, ""},
		{after, Ticked{}, take},
		{0, leads(7), "ListWorkers"},
	}
}

// firstPass is a first pass that grants nothing: one tunnel with two slots that are well, under the id that the store gave.
func firstPass() []step {
	return append(lead(),
		step{0, workersOf(tunnelA), `ReadPool ""`},
		step{0, poolOf(3), "ReadConnector 0a"},
		step{0, ConnectorReply{ID: idA}, "ReadSlots 0a/01 under 7"},
		step{0, slotsOf(lease.StateConnected, lease.StateConnected), "Observed unsettled=true; StoreUp again=false; " + rest},
	)
}

// lostRead reads a tunnel whose slots would be placed anew, and are not.
func lostRead(under lease.Term, slots SlotsReply) []step {
	return []step{
		{0, workersOf(tunnelA), `ReadPool ""`},
		{0, poolOf(3), "ReadConnector 0a"},
		{0, ConnectorReply{ID: idA}, fmt.Sprint("ReadSlots 0a/01 under ", under)},
		{0, slots, nothing},
	}
}

// oneDrains has a slot that would be granted anew.
func oneDrains() SlotsReply { return slotsOf(lease.StateConnected, lease.StateDraining) }

// older is a reply with older epochs.
func older(r SlotsReply) SlotsReply {
	for i := range r.Records {
		r.Records[i].Epoch -= 50
	}
	return r
}

// toGrant leads from the list of workers to the proof of a tunnel without slots.
func toGrant() []step {
	return []step{
		{0, workersOf(tunnelA), `ReadPool ""`},
		{0, poolOf(3), "ReadConnector 0a"},
		{0, ConnectorReply{ID: idA}, "ReadSlots 0a/01 under 7"},
		{0, SlotsReply{}, "ReadProved 0a/01"},
	}
}

// passOf is a pass that makes every call there is, and the call that each event leads to.
func passOf() []step {
	return append(lead(),
		step{0, workersOf(tunnelA), "ReadPool"},
		step{0, poolOf(3), "ReadConnector"},
		step{0, ConnectorReply{ID: idA}, "ReadSlots"},
		step{0, SlotsReply{}, "ReadProved"},
		step{0, ProvedReply{}, "Grant"},
		step{0, GrantReply{}, "Hint"},
	)
}

// failing is the reply to a call, with an error.
func failing(t *testing.T, last Action, err error) Event {
	t.Helper()
	switch last.(type) {
	case TakeLead:
		return LeadReply{Err: err}
	case ListWorkers:
		return WorkersReply{Err: err}
	case ReadPool:
		return PoolReply{Err: err}
	case ReadConnector, EnsureConnector:
		return ConnectorReply{Err: err}
	case ReadSlots:
		return SlotsReply{Err: err}
	case ReadProved:
		return ProvedReply{Err: err}
	case Grant:
		return GrantReply{Err: err}
	case Hint:
		return HintReply{Err: err}
	case Notify:
		return NotifyReply{Err: err}
	case BeginGeneration:
		return GenerationReply{Err: err}
	}
	t.Fatalf("%T is no call", last)
	return nil
}

// TestErrorsOfTheStore: only the lead and the list of workers can end a pass; the problem is told, and the next pass begins after the rest.
// Whatever else fails, the store counts as available.
func TestErrorsOfTheStore(t *testing.T) {
	for n := 1; n <= len(passOf()); n++ {
		for _, err := range []error{away(), errDecode} {
			m, now := newMachine(), time.Unix(1000, 0)
			if !errors.Is(m.Problem(), ErrStarting) || m.Leading() {
				t.Fatalf("before the first pass: Problem() = %v, Leading() = %v", m.Problem(), m.Leading())
			}
			var last []Action
			for _, s := range passOf()[:n] {
				last = stepOf(m, now, s.event)
			}
			call := last[len(last)-1]
			got := stepOf(m, now, failing(t, call, err))
			ends := n == 1 || n == 2 && errors.Is(err, tunnel.ErrUnavailable)
			if _, rests := got[len(got)-1].(Rest); ends && (!rests || m.Problem() == nil) {
				t.Errorf("%T failed with %v: %s, Problem() = %v, want the end of the pass", call, err, describe(got), m.Problem())
			}
			if _, told := got[0].(Trouble); !ends && !told {
				t.Errorf("%T failed with %v: %s, want it told", call, err, describe(got))
			}
			for range 20 {
				if _, rests := got[len(got)-1].(Rest); rests {
					break
				}
				got = stepOf(m, now, reply(t, rand.New(rand.NewPCG(1, 5)), got[len(got)-1]))
			}
			if !ends && m.Problem() != nil {
				t.Errorf("%T failed with %v: Problem() = %v, want nil", call, err, m.Problem())
			}
			stepOf(m, now, Rested{})
			if got := describe(stepOf(m, now, Ticked{})); got != take {
				t.Errorf("%T failed: the next pass begins with %s, want %s", call, got, take)
			}
		}
	}
}

// TestObservedWorld: the world that is planned on has what was read, and the health of addresses.
func TestObservedWorld(t *testing.T) {
	r := newRun(t)
	r.steps(firstPass()[:5]...)
	failed := slotsOf(lease.StateFailed)
	failed.Records[0].Status.Reason = tunnel.ReasonDial
	r.steps(step{0, failed, "ReadProved 0a/01"})
	actions := stepOf(r.m, r.now, ProvedReply{Proved: true})
	seen, ok := actions[0].(Observed)
	if !ok {
		t.Fatalf("the first action is %T, want Observed", actions[0])
	}
	w := seen.World
	if len(w.Workers) != 1 || len(w.Connectors) != 1 || !w.Connectors[0].Proved || w.Connectors[0].ID != idA ||
		len(w.Connectors[0].Records) != 1 || w.Pools[""].Count(edgepool.Any) != 3 || !w.Now.Equal(r.now) ||
		w.Health["h1"][addr(1)].Failures != 1 {
		t.Errorf("the world is %+v", w)
	}
	if g, ok := actions[1].(Grant); !ok || g.Edge.Addr == addr(1) {
		t.Errorf("the second action is %s, want a grant at another address than the failed one", describe(actions[1:]))
	}
}

package pass

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// stepOf is Step of a machine for which nothing is desired that it does not know.
func stepOf(m *Machine, now time.Time, e Event) []Action {
	actions := m.Step(now, e)
	if n := len(actions); n > 0 {
		if _, asks := actions[n-1].(ReadDesired); asks {
			return append(actions[:n-1:n-1], m.Step(now, DesiredReply{Same: true})...)
		}
	}
	return actions
}

// one is what a store says of a tunnel with two slots, under the document and with the commands.
func one(spec desired.Spec, commands ...desired.Command) DesiredReply {
	r := DesiredReply{State: desired.State{Version: 900, Tunnels: map[tunnel.ID]desired.Document{tunnelA: {Spec: spec, Version: 9}}}}
	for _, c := range commands {
		r.State.Commands = append(r.State.Commands, desired.Status{Command: c, Remaining: time.Minute})
	}
	return r
}

func commandOf(kind desired.Kind, epoch tunnel.Epoch) desired.Command {
	return desired.Command{ID: "c1", Kind: kind, Tunnel: tunnelA, Index: 1, Epoch: epoch}
}

// settled is a machine that leads and whose store has been available for long, after a pass.
func settled(t *testing.T) (*run, *Machine) {
	t.Helper()
	r := newRun(t)
	r.steps(lead()...)
	r.steps(step{0, workersOf(), "Observed unsettled=true; StoreUp again=false; " + rest}, step{0, Rested{}, ""},
		step{SettleTime + time.Second, Ticked{}, take})
	return r, r.m
}

// known leads from the desired state to the slots, with two connected ones.
func knownAs(reply DesiredReply, want string) []step {
	listing := workersOf(tunnelA)
	listing.Desired = true // marked
	return []step{
		{0, leads(7), "ListWorkers"},
		{0, listing, "ReadDesired"},
		{0, reply, want + `ReadPool ""`},
		{0, poolOf(4), "ReadConnector 0a"},
		{0, ConnectorReply{ID: idA}, "ReadSlots 0a/01 under 7"},
	}
}

// raw runs the steps without hiding what is asked of the desired state.
func (r *run) raw(steps ...step) {
	r.t.Helper()
	for i, s := range steps {
		r.now = r.now.Add(s.after)
		if got := describe(r.m.Step(r.now, s.event)); got != s.want {
			r.t.Fatalf("step %d, %T:\n got %s\nwant %s", i, s.event, got, s.want)
		}
	}
}

func TestWishes(t *testing.T) {
	connected := slotsOf(lease.StateConnected, lease.StateConnected)
	for name, steps := range map[string][]step{
		"a paused tunnel": append(knownAs(one(desired.Spec{Paused: true}), ""),
			step{0, connected, "Observed unsettled=false; Release 0 of w1 epoch 100: paused"},
			step{0, ReleaseReply{}, "SlotReleased 0; Release 1 of w1 epoch 101: paused"},
			step{0, ReleaseReply{}, "SlotReleased 1; Hint grants"},
		),
		"a move is a grant, and its result is written": append(knownAs(one(desired.Spec{}, commandOf(desired.Move, 101)), ""),
			step{0, connected, "Observed unsettled=false; Grant 1 to w1 at 192.0.2.4:7844 expecting 101 for 15s: command"},
			step{0, GrantReply{Granted: lease.Grant{Epoch: 200}}, "SlotGranted 1 epoch 200; AnswerCommand c1 done"},
			step{0, AnswerReply{}, "CommandAnswered c1 done; Hint grants"},
		),
		"a move that the store refused waits": append(knownAs(one(desired.Spec{}, commandOf(desired.Move, 101)), ""),
			step{0, connected, "Observed unsettled=false; Grant 1 to w1 at 192.0.2.4:7844 expecting 101 for 15s: command"},
			step{0, GrantReply{Err: tunnel.ErrConflict}, "PlanOutdated (conflict); " + rest},
		),
		"a reconnect reaches its worker": append(knownAs(one(desired.Spec{}, commandOf(desired.Reconnect, 101)), ""),
			step{0, connected, "Observed unsettled=false; AskReconnect 1 epoch 101"},
			step{0, ReconnectReply{}, "AnswerCommand c1 done"},
			step{0, AnswerReply{}, "CommandAnswered c1 done; Hint grants"},
		),
		"a reconnect of a slot that moved is answered by the next pass": append(
			knownAs(one(desired.Spec{}, commandOf(desired.Reconnect, 101)), ""),
			step{0, connected, "Observed unsettled=false; AskReconnect 1 epoch 101"},
			step{0, ReconnectReply{Err: tunnel.ErrFenced}, "PlanOutdated (fenced: a newer epoch exists); " + rest},
		),
		"a command for another epoch": append(knownAs(one(desired.Spec{}, commandOf(desired.Reconnect, 99)), ""),
			step{0, connected, "Observed unsettled=false; AnswerCommand c1 refused"},
			step{0, AnswerReply{Err: away()}, "Trouble desired (" + away().Error() + "); " + rest},
		),
		"a command that has expired": append(knownAs(one(desired.Spec{}, commandOf(desired.Reconnect, 101)), ""),
			step{2 * time.Minute, connected, "Observed unsettled=false; " + rest},
		),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := settled(t)
			r.raw(steps...)
		})
	}
}

// TestLostWishes: what the store lost stays in force and is given back; a newer document of the store counts.
func TestLostWishes(t *testing.T) {
	r, m := settled(t)
	connected := slotsOf(lease.StateConnected)
	first := one(desired.Spec{Connections: 1})
	first.State.Workers = map[tunnel.WorkerID]desired.Mark{"w9": {Drained: true, Version: 8}}
	r.raw(append(knownAs(first, ""), step{0, connected, "Observed unsettled=false; " + rest})...)
	empty := DesiredReply{State: desired.State{}}
	r.raw(step{0, Rested{}, ""}, step{0, Ticked{}, take})
	r.raw(append(knownAs(empty, "Trouble desired ("+errLostDesired.Error()+"); "),
		step{0, connected, "Observed unsettled=false; RestoreDesired"},
		step{0, RestoreReply{Err: tunnel.ErrConflict}, "RestoreDrained"},
		step{0, RestoreReply{Err: away()}, "Trouble desired (" + away().Error() + "); " + rest},
		step{0, Rested{}, ""}, step{0, Ticked{}, take})...)
	if d := m.wishes.state.Tunnels[tunnelA]; d.Connections != 1 || d.Version != 9 {
		t.Errorf("document %+v, want that of before", d)
	}
	r.raw(append(knownAs(DesiredReply{Same: true}, ""), step{0, connected, "Observed unsettled=false; RestoreDrained"},
		step{0, RestoreReply{}, rest})...)
}

// TestUnreadWishes: before the desired state was ever read nothing is planned for a while, then the settings of the workers apply.
func TestUnreadWishes(t *testing.T) {
	r := newRun(t)
	r.raw(lead()...)
	down := DesiredReply{Err: away()}
	r.raw(step{0, workersOf(tunnelA), "ReadDesired"},
		step{0, down, "StoreDown (store unavailable); " + rest}, step{0, Rested{}, ""}, step{SettleTime, Ticked{}, take},
		step{0, leads(7), "ListWorkers"}, step{0, workersOf(tunnelA), "ReadDesired"},
		step{0, down, "Trouble desired (" + errNoDesired.Error() + ": " + away().Error() + `); ReadPool ""`})
}

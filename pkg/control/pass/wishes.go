package pass

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Errors of Trouble with KindDesired.
var (
	errLostDesired = errors.New("the store lost the desired state, or has an older one: the newer one stays in force and is written back")
	errNoDesired   = errors.New("the desired state was never read: the settings of the workers apply")
)

// wishes are what operators desire, as far as this supervisor knows.
type wishes struct {
	state desired.State
	// read says that the state was read at least once; blind is since when it could not be.
	read  bool
	blind time.Time
	// asked is when the state was read last; stale asks to read it with the next pass.
	asked time.Time
	stale bool
	// news says that the present pass has read another state than the one before.
	news bool
	// commands are those that wait, with the time until which they may be carried out.
	commands map[string]waiting
	// rushed is when a connection of a tunnel was made anew on request.
	rushed map[tunnel.ID]time.Time
	// answers are the results that the present pass still has to write.
	answers []plan.Answer
	// restore is what the store lost.
	restore []Action
}

type waiting struct {
	desired.Status
	until time.Time
}

func newWishes() wishes {
	return wishes{commands: map[string]waiting{}, rushed: map[tunnel.ID]time.Time{}}
}

// wishEvery is how often the desired state is read although nobody marked it: a supervisor that changed it may have ended before its mark.
const wishEvery = 10 * time.Second

// due reports whether the desired state has to be read in a pass at now.
func (w *wishes) due(now time.Time) bool {
	return w.stale || !w.read || !w.blind.IsZero() || now.Sub(w.asked) >= wishEvery
}

// desiredRead keeps the desired state. What the store lost stays in force and is given back. One that cannot be read is as it was read
// last; before the first time it is waited for, as long as after an outage.
func (m *Machine) desiredRead(r DesiredReply) []Action {
	w := &m.wishes
	if r.Err != nil {
		if w.blind.IsZero() {
			w.blind = m.now
		}
		if !w.read && m.now.Sub(w.blind) < m.cfg.Settle {
			return m.end(r.Err)
		}
		err := r.Err
		if !w.read {
			err = fmt.Errorf("%w: %w", errNoDesired, r.Err)
		}
		return m.known(m.trouble(KindDesired, "", err))
	}
	w.read, w.blind, w.stale, w.asked = true, time.Time{}, false, m.now
	if r.Same {
		return m.known()
	}
	var lost desired.Lost
	w.state, lost = w.state.Merge(r.State)
	w.news, w.restore = true, nil
	w.commands = make(map[string]waiting, len(r.State.Commands))
	for _, c := range r.State.Commands {
		w.commands[c.ID] = waiting{Status: c, until: m.called.Add(c.Remaining)}
	}
	var facts []Action
	for _, id := range lost.Tunnels {
		w.restore = append(w.restore, RestoreDesired{Tunnel: id, Document: w.state.Tunnels[id]})
	}
	for _, id := range lost.Workers {
		w.restore = append(w.restore, RestoreDrained{Worker: id, Mark: w.state.Workers[id]})
	}
	if !lost.Empty() {
		facts = append(facts, m.trouble(KindDesired, "", errLostDesired))
	}
	for _, d := range w.state.Damaged {
		facts = append(facts, m.trouble(KindDesired, d, errors.New("it cannot be read")))
	}
	return m.known(facts...)
}

// mark returns the workers with those as draining that the operator drains.
func (w *wishes) mark(workers []fleet.Worker) []fleet.Worker {
	out := slices.Clone(workers)
	for i := range out {
		out[i].Draining = out[i].Draining || w.state.Workers[out[i].ID].Drained
	}
	return out
}

// waiting lists the commands that may still be carried out, in the order of their ids, and the tunnels of which a connection was made
// anew lately.
func (w *wishes) waiting(now time.Time) (list []desired.Status, rushed map[tunnel.ID]bool) {
	maps.DeleteFunc(w.commands, func(_ string, c waiting) bool { return !now.Before(c.until) })
	maps.DeleteFunc(w.rushed, func(_ tunnel.ID, at time.Time) bool { return now.Sub(at) >= lease.RegistrationInterval })
	for _, id := range slices.Sorted(maps.Keys(w.commands)) {
		list = append(list, w.commands[id].Status)
	}
	rushed = make(map[tunnel.ID]bool, len(w.rushed))
	for id := range w.rushed {
		rushed[id] = true
	}
	return list, rushed
}

// moved takes note of a grant that carries a command out.
func (w *wishes) moved(g plan.Grant, granted lease.Grant) {
	if g.Command == "" {
		return
	}
	w.answers = append(w.answers, plan.Answer{Command: g.Command, Result: desired.Result{
		Outcome: desired.Done,
		Detail:  fmt.Sprintf("slot %d has epoch %d at worker %s, address %s", g.Slot.Index, granted.Epoch, g.Worker, g.Edge),
	}})
}

// wishReply handles the reply of a call for an operator.
func (m *Machine) wishReply(e Event) []Action {
	switch e := e.(type) {
	case ReconnectReply:
		if m.stage == reconnecting {
			return m.reconnected(e)
		}
	case AnswerReply:
		if m.stage == answering {
			return m.answered(e)
		}
	case RestoreReply:
		if m.stage == restoring {
			return m.restored(e)
		}
	}
	return nil
}

// reconnected goes on after the holder of a slot was asked to make its connection again.
func (m *Machine) reconnected(r ReconnectReply) []Action {
	a, _ := m.todo[0].(plan.Reconnect)
	m.todo = m.todo[1:]
	switch {
	case m.overtaken(r.Err):
		return m.abandon(r.Err)
	case r.Err == nil:
		m.wishes.rushed[a.Slot.Tunnel] = m.now
		m.noticeRelease(plan.Release{Slot: a.Slot, Worker: a.Worker, Epoch: a.Epoch})
		m.written++
		m.wishes.answers = append(m.wishes.answers, plan.Answer{Command: a.Command, Result: desired.Result{
			Outcome: desired.Done, Detail: fmt.Sprintf("worker %s makes the connection of slot %d again", a.Worker, a.Slot.Index),
		}})
		return m.write()
	case errors.Is(r.Err, tunnel.ErrFenced), errors.Is(r.Err, tunnel.ErrNotFound):
		return m.write(PlanOutdated(r))
	}
	return m.write(m.trouble(KindGrant, a.Slot.Tunnel.String(), r.Err))
}

// answer writes the next result of a command after the facts so far, then gives the next lost document back, then tells the workers.
func (m *Machine) answer(facts ...Action) []Action {
	switch w := &m.wishes; {
	case !m.leading:
	case len(w.answers) > 0:
		m.stage = answering
		return append(facts, AnswerCommand{w.answers[0]})
	case len(w.restore) > 0:
		m.stage = restoring
		return append(facts, w.restore[0])
	}
	return m.tellWorkers(facts...)
}

// answered goes on after a result was written. One that was not is found in the slot's record by the next pass.
func (m *Machine) answered(r AnswerReply) []Action {
	w := &m.wishes
	a := w.answers[0]
	w.answers = w.answers[1:]
	switch {
	case r.Err == nil, errors.Is(r.Err, tunnel.ErrNotFound): // it has expired, and was removed
		delete(w.commands, a.Command)
		return m.answer(CommandAnswered{a})
	case errors.Is(r.Err, tunnel.ErrUnavailable):
		w.answers = nil
	}
	return m.answer(m.trouble(KindDesired, a.Command, r.Err))
}

// restored goes on after a document was given back, or the store had a newer one. What could not be given back is tried again with the
// next pass.
func (m *Machine) restored(r RestoreReply) []Action {
	w := &m.wishes
	if r.Err == nil || errors.Is(r.Err, tunnel.ErrConflict) {
		w.restore, w.stale = w.restore[1:], true
		return m.answer()
	}
	return m.tellWorkers(m.trouble(KindDesired, "", r.Err))
}

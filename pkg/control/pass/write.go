package pass

import (
	"errors"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// plan decides what to write in the world that was read.
func (m *Machine) plan(now time.Time) []Action {
	world := m.read.world
	world.Beside, world.Serving = m.beside(), m.serving
	m.health.observe(&world, now)
	world.Unsettled = m.read.listed.Sub(m.steady) < m.cfg.Settle // who was absent then may have come since
	world.Scattered, world.Planners = m.scattered, len(m.team.Members)
	world.Commands, world.Rushed = m.wishes.waiting(now)
	result := plan.Plan(world)
	m.todo, m.written, m.wishes.answers = result.Actions, 0, result.Answers
	m.schedule(&world, result)
	facts := append([]Action{Observed{World: world}}, m.short(world.Connectors, result.Shortages)...)
	return m.write(facts...)
}

// scatterTime is how long the loss of most workers counts as one event.
const scatterTime = 20 * time.Second

// sighting is when a worker was listed last, and whether it drained then.
type sighting struct {
	at       time.Time
	instance string
	draining bool
}

// seen keeps which workers were listed, and reports whether more than half of the workers, and at least two, vanished lately without a
// drain.
func (m *Machine) seen(workers []fleet.Worker) bool {
	for _, w := range workers {
		m.fleet[w.ID] = sighting{at: m.now, instance: w.Instance, draining: w.Draining}
	}
	gone := 0
	for id, s := range m.fleet {
		switch {
		case s.at.Equal(m.now):
		case s.draining, m.now.Sub(s.at) > scatterTime:
			delete(m.fleet, id)
		default:
			gone++
		}
	}
	return gone > 1 && 2*gone > len(m.fleet)
}

// short gives the shortages of the connectors that were planned, as far as they are new or have changed.
func (m *Machine) short(planned []plan.Connector, list []plan.Shortage) []Action {
	var news []Action
	now := make(map[tunnel.ID]plan.Shortage, len(list))
	for _, s := range list {
		now[s.Tunnel] = s
		if m.shortages[s.Tunnel] != s {
			news = append(news, Short{s})
		}
	}
	for _, c := range planned {
		if s, found := now[c.Tunnel]; found {
			m.shortages[c.Tunnel] = s
		} else {
			delete(m.shortages, c.Tunnel)
		}
	}
	return news
}

// write begins the next write of the plan after the facts so far, and wakes the workers after the last one.
func (m *Machine) write(facts ...Action) []Action {
	if len(m.todo) == 0 {
		return m.answer(facts...)
	}
	switch a := m.todo[0].(type) {
	case plan.Release:
		m.stage = releasing
		return append(facts, Release{Release: a, Term: m.term})
	case plan.Reconnect:
		m.stage = reconnecting
		return append(facts, AskReconnect{Reconnect: a, Term: m.term})
	}
	g, _ := m.todo[0].(plan.Grant) // there is no fourth kind
	wait, ok := m.pace.take(m.now, len(m.team.Members))
	if !ok {
		m.queue.Done(m.now, g.Slot.Tunnel, m.now.Add(wait-grantWait/2))
		m.drop(g.Slot.Tunnel)
		return m.write(facts...)
	}
	g.Wait, g.Above = max(g.Wait, wait), m.highest[g.Slot.Tunnel][g.Slot.Index]
	m.todo[0], m.stage = g, granting
	return append(facts, Grant{Grant: g, Term: m.term, Ended: m.ended[g.Slot.Tunnel], TTL: lease.LeaseTTL})
}

// drop drops what is left of the plan for a tunnel.
func (m *Machine) drop(t tunnel.ID) {
	m.todo = slices.DeleteFunc(m.todo, func(a plan.Action) bool { return slotOf(a).Tunnel == t })
}

// writeReply handles the reply of a write.
func (m *Machine) writeReply(e Event) []Action {
	switch e := e.(type) {
	case GrantReply:
		if m.stage == granting {
			a, _ := m.todo[0].(plan.Grant)
			if e.Err == nil {
				m.legacy = m.legacy || a.Instance == ""
				m.granted(a.Slot, e.Granted.Epoch)
				m.noticeGrant(a, e.Granted)
				m.wishes.moved(a, e.Granted)
			}
			return m.wrote(e.Err, SlotGranted{Grant: a, Granted: e.Granted})
		}
	case ReleaseReply:
		if m.stage == releasing {
			a, _ := m.todo[0].(plan.Release)
			if e.Err == nil {
				m.noticeRelease(a)
			}
			return m.wrote(e.Err, SlotReleased{Release: a})
		}
	case ReconnectReply, AnswerReply, RestoreReply:
		return m.wishReply(e)
	case GenerationReply, NotifyReply:
		return m.toldWorkers(e)
	case HintReply:
		if m.stage == hinting {
			return m.woke(e)
		}
		if m.stage == leaving {
			return m.done()
		}
	case ResignReply:
		if m.stage == resigning {
			return m.resigned(e)
		}
	}
	return nil
}

// woke ends a pass after its hint. Workers that missed it see the grants with their next renewal.
func (m *Machine) woke(r HintReply) []Action {
	if r.Err == nil {
		return m.end(m.err)
	}
	return m.end(m.err, m.trouble(KindHint, "", r.Err))
}

// wrote handles the result of one write; done is the fact of its success. A conflict means that the world has changed: the rest of the plan
// goes on, and the next pass reads the world again. Another error concerns this slot, or if the store does not respond its connector; the
// write may have been made.
func (m *Machine) wrote(err error, done Action) []Action {
	slot := slotOf(m.todo[0])
	m.todo = m.todo[1:]
	switch {
	case m.overtaken(err):
		return m.abandon(err)
	case err == nil:
		m.written++
		return m.write(done)
	case errors.Is(err, tunnel.ErrConflict), errors.Is(err, tunnel.ErrFenced), errors.Is(err, tunnel.ErrNotFound):
		return m.write(PlanOutdated{Err: err})
	case errors.Is(err, tunnel.ErrUnavailable):
		m.written++
		m.drop(slot.Tunnel)
	}
	return m.write(m.trouble(KindGrant, slot.Tunnel.String(), err))
}

// slotOf is the slot of a write.
func slotOf(a plan.Action) tunnel.Slot {
	switch a := a.(type) {
	case plan.Release:
		return a.Slot
	case plan.Reconnect:
		return a.Slot
	}
	g, _ := a.(plan.Grant) // there is no fourth kind
	return g.Slot
}

package pass

import (
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// againAfter is how old a grant may be that its worker has not reported, before the worker is told again.
const againAfter = 2 * time.Second

// living says which records of the present connector are live, and finds what workers have to be told of them.
func (m *Machine) living(records []lease.Record) []lease.Record {
	out, ended := m.alive(records)
	t := m.read.desired().Tunnel
	delete(m.ended, t)
	if m.read.listed.Sub(m.steady) >= m.cfg.Settle { // before, a worker may only have been unable to renew its lease
		m.ended[t] = ended
	}
	m.noticeRecords(out)
	return out
}

// alive says which records are live: those of processes that keep one lease for all their slots live as long as that one. While most
// workers are gone at once, such a record lives on for as long as a slot's own lease. ended are the records whose process is gone.
func (m *Machine) alive(records []lease.Record) (out []lease.Record, ended []lease.Ended) {
	out = slices.Clone(records)
	listed := make(map[tunnel.WorkerID]string, len(m.read.world.Workers))
	for _, w := range m.read.world.Workers {
		listed[w.ID] = w.Instance
	}
	for i, r := range out {
		if r.Instance == "" || r.Worker == "" || !r.Live || m.read.world.Unlisted {
			continue
		}
		late := m.scattered && m.fleet[r.Worker].instance == r.Instance && m.now.Sub(m.since) < lease.LeaseTTL-lease.WorkerTTL
		if listed[r.Worker] == r.Instance || late {
			continue
		}
		out[i].Live = false
		ended = append(ended, lease.Ended{Index: r.Slot.Index, Epoch: r.Epoch})
	}
	return out, ended
}

// notice is a change of a slot that a worker has to be told.
type notice struct {
	slot  tunnel.Slot
	epoch tunnel.Epoch
}

// notices are what workers have to be told, and what they were told.
type notices struct {
	pending map[tunnel.WorkerID][]notice
	// holders and formers are the epochs of which the holders and the former holders of slots were told.
	holders, formers map[tunnel.Slot]tunnel.Epoch
	// told is when a worker was told last, and sent what it is being told.
	told map[tunnel.WorkerID]time.Time
	sent []notice
}

func newNotices() notices {
	return notices{
		pending: map[tunnel.WorkerID][]notice{}, holders: map[tunnel.Slot]tunnel.Epoch{}, formers: map[tunnel.Slot]tunnel.Epoch{},
		told: map[tunnel.WorkerID]time.Time{},
	}
}

func (n *notices) add(w tunnel.WorkerID, what notice) {
	if w != "" && !slices.Contains(n.pending[w], what) {
		n.pending[w] = append(n.pending[w], what)
	}
}

// noticeRecords finds what workers were not told: by this supervisor, or because another one ended before it did.
func (m *Machine) noticeRecords(records []lease.Record) {
	for _, r := range records {
		if r.Former != "" && m.notices.formers[r.Slot] != r.Epoch {
			m.notices.add(r.Former, notice{r.Slot, r.Epoch})
		}
		waits := r.Live && r.Instance != "" && r.Status.State == lease.StateGranted
		fresh := m.notices.holders[r.Slot] != r.Epoch
		late := r.Age >= againAfter && m.now.Sub(m.notices.told[r.Worker]) >= againAfter
		if waits && (fresh || late) {
			m.notices.add(r.Worker, notice{r.Slot, r.Epoch})
		}
	}
}

// noticeGrant takes note of a grant that was made.
func (m *Machine) noticeGrant(g plan.Grant, granted lease.Grant) {
	what := notice{g.Slot, granted.Epoch}
	if g.Instance != "" {
		m.notices.add(g.Worker, what)
	}
	for _, c := range m.read.world.Connectors {
		for _, r := range c.Records {
			if r.Slot == g.Slot && r.Instance != "" && (r.Worker != g.Worker || r.Instance != g.Instance) {
				m.notices.add(r.Worker, what)
			}
		}
	}
}

// noticeRelease takes note of a release that was made.
func (m *Machine) noticeRelease(r plan.Release) {
	if m.fleet[r.Worker].instance == "" {
		m.legacy = true
		return
	}
	m.notices.add(r.Worker, notice{r.Slot, r.Epoch})
}

// tellWorkers ends a pass. After a loss of data it asks all workers to report again; otherwise it notifies the workers whose slots
// changed, and wakes the workers of former versions, which keep a lease for each slot.
func (m *Machine) tellWorkers(facts ...Action) []Action {
	switch {
	case !m.leading:
	case m.regenerate:
		m.regenerate = false
		m.stage = beginning
		return append(facts, BeginGeneration{})
	case len(m.notices.pending) > 0:
		w := slices.Min(slices.Collect(maps.Keys(m.notices.pending)))
		m.notices.sent = m.notices.pending[w]
		delete(m.notices.pending, w)
		m.notices.told[w] = m.now
		var tunnels []tunnel.ID
		for _, n := range m.notices.sent {
			m.notices.mark(n)
			if !slices.Contains(tunnels, n.slot.Tunnel) {
				tunnels = append(tunnels, n.slot.Tunnel)
			}
		}
		m.stage = notifying
		return append(facts, Notify{Worker: w, Tunnels: tunnels})
	case m.written > 0 && m.legacy:
		m.stage = hinting
		return append(facts, Hint{Topic: lease.TopicGrants})
	}
	return m.end(m.err, facts...)
}

// mark notes that the workers of a slot are told.
func (n *notices) mark(what notice) {
	n.holders[what.slot] = max(n.holders[what.slot], what.epoch)
	n.formers[what.slot] = max(n.formers[what.slot], what.epoch)
}

// toldWorkers handles the reply of a call by which workers learn of a change.
func (m *Machine) toldWorkers(e Event) []Action {
	switch e := e.(type) {
	case GenerationReply:
		if m.stage == beginning {
			return m.began(e)
		}
	case NotifyReply:
		if m.stage == notifying {
			return m.notified(e)
		}
	}
	return nil
}

// notified goes on with the next worker. One that could not be told is told in the next pass.
func (m *Machine) notified(r NotifyReply) []Action {
	if r.Err == nil {
		return m.tellWorkers()
	}
	for _, n := range m.notices.sent {
		delete(m.notices.holders, n.slot)
		delete(m.notices.formers, n.slot)
	}
	clear(m.notices.pending)
	return m.end(m.err, m.trouble(KindHint, "", r.Err))
}

// began goes on after a new generation began, or could not.
func (m *Machine) began(r GenerationReply) []Action {
	if r.Err == nil {
		return m.tellWorkers()
	}
	m.regenerate = true
	return m.end(m.err, m.trouble(KindHint, "", r.Err))
}

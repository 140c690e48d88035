package keep

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// reconcile makes the holders follow the records. It is level-triggered: the same records change nothing.
func (m *Machine) reconcile(now time.Time, records []lease.Record) {
	sorted := slices.SortedStableFunc(slices.Values(records), func(a, b lease.Record) int { return cmp.Compare(a.Slot.Index, b.Slot.Index) })
	for _, r := range sorted {
		m.records[r.Slot.Index] = r
		if m.own(r) {
			delete(m.left, r.Slot.Index)
			m.followOwn(now, r)
			m.followReconnect(r)
		} else {
			m.inherit(now, r)
			m.followOther(r)
		}
	}
}

// own reports whether a record names this process. One of a supervisor that knows no instances names only the worker.
func (m *Machine) own(r lease.Record) bool {
	return r.Worker == m.cfg.Worker && (r.Instance == "" || r.Instance == m.cfg.Instance)
}

// followOwn handles a record that names this process.
func (m *Machine) followOwn(now time.Time, r lease.Record) {
	index := r.Slot.Index
	if !r.Live || m.leaving || r.Epoch <= m.last[index] {
		m.supersede(r, r.Epoch)
		m.giveBack(r)
		return
	}
	m.last[index] = r.Epoch
	hs := m.holders[index]
	if n := len(hs); n == 0 || !canTake(m.view(hs[n-1].id), r.Edge) {
		m.lastID++
		hs = append(hs, holder{id: m.lastID})
		m.holders[index] = hs
		m.emit(Start{Holder: m.lastID, Slot: r.Slot})
	}
	newest := &hs[len(hs)-1]
	newest.offered = r.Epoch
	grant := r.Grant
	grant.Wait = m.spaced(now, grant.Wait)
	m.emit(Send{Holder: newest.id, Event: lease.Event{
		Kind: lease.EventGranted, Grant: grant, Retries: r.Status.Retries, Past: r.Status.Past,
	}})
	m.supersede(r, r.Epoch)
}

// lateAfter is how long after its start a grant is seen late: a hint or the next renewal shows it sooner.
const lateAfter = 500 * time.Millisecond

// spaced is the wait of a grant that is seen now. The registration bucket spaced the grants as they were made; seen late, several of them
// would start at once, and the next one right after. Then other workers probably see theirs late, too, and each has only one of the burst.
func (m *Machine) spaced(now time.Time, wait time.Duration) time.Duration {
	full := now
	if m.full.After(now) {
		full = m.full
	} else {
		m.late = false
	}
	m.late = m.late || wait < -lateAfter
	m.full = full.Add(lease.RegistrationInterval)
	burst := time.Duration(lease.RegistrationBurst)
	if m.late {
		burst = 1
	}
	return max(wait, 0, full.Sub(now)-(burst-1)*lease.RegistrationInterval)
}

// giveBack releases a slot that the store has for this worker although no holder of it runs: a grant that ended here, or one with an epoch
// that is older than one it had, from a store that lost data. The release names the newest epoch, so that the next grant is newer.
func (m *Machine) giveBack(r lease.Record) {
	index := r.Slot.Index
	if !r.Live || r.Epoch > m.last[index] || len(m.holders[index]) > 0 {
		return
	}
	for _, other := range m.releasing {
		if other == index {
			return
		}
	}
	m.lastID++
	m.releasing[m.lastID] = index
	m.emit(CallRelease{Holder: m.lastID, Slot: r.Slot, Worker: m.cfg.Worker, Epoch: m.last[index]})
}

// inheritAfter is how long a slot of a former process is left to the supervisors, which know what it went through.
const inheritAfter = 5 * time.Second

// inherit releases a slot of a former process with this worker's id: that one has ended, since this one has the lease of the worker. A
// supervisor that knows no instances would leave the slot with it; others have moved it by then.
func (m *Machine) inherit(now time.Time, r lease.Record) {
	if !r.Live || r.Worker != m.cfg.Worker || m.displaced || m.cfg.Instance == "" {
		delete(m.left, r.Slot.Index)
		return
	}
	if m.left[r.Slot.Index].IsZero() {
		m.left[r.Slot.Index] = now
	}
	if now.Sub(m.left[r.Slot.Index]) < inheritAfter {
		return
	}
	for _, other := range m.releasing {
		if other == r.Slot.Index {
			return
		}
	}
	m.lastID++
	m.releasing[m.lastID] = r.Slot.Index
	m.emit(CallRelease{Holder: m.lastID, Slot: r.Slot, Worker: m.cfg.Worker, Epoch: r.Epoch})
}

// canTake reports whether a holder can continue with a newer grant: not when it drains, and not when it serves on another address
// than the granted one, or may do so in a moment. Then a second holder connects before the first one ends.
func canTake(v hold.View, edge tunnel.EdgeAddr) bool {
	switch v.Phase {
	case lease.PhaseDraining, lease.PhaseEnded:
		return false
	case lease.PhaseRegistering, lease.PhaseConnected, lease.PhaseSuperseded:
		return v.Edge == edge
	default:
		return true
	}
}

// followOther handles a record that names another worker or another process of this one, or none.
func (m *Machine) followOther(r lease.Record) {
	if r.Worker != "" {
		m.supersede(r, r.Epoch+1) // of two workers with one epoch the one that the store names has the slot
		return
	}
	for _, h := range m.holders[r.Slot.Index] {
		if h.offered <= r.Epoch {
			m.emit(Send{Holder: h.id, Event: lease.Event{Kind: lease.EventReleased}})
		}
	}
}

// supersede sends the newer record to the holders of epochs below a bound.
func (m *Machine) supersede(r lease.Record, below tunnel.Epoch) {
	for _, h := range m.holders[r.Slot.Index] {
		if h.offered < below {
			m.emit(Send{Holder: h.id, Event: lease.Event{Kind: lease.EventNewer, Newer: r}})
		}
	}
}

// holderEnded removes a holder and releases its lease. Of a process that ends at once nothing is released.
func (m *Machine) holderEnded(e HolderEnded) error {
	for _, index := range m.indices() {
		hs := m.holders[index]
		i := slices.IndexFunc(hs, func(h holder) bool { return h.id == e.Holder })
		if i < 0 {
			continue
		}
		epoch := hs[i].offered
		m.holders[index] = slices.Delete(hs, i, i+1)
		delete(m.reported, index)
		if e.Killed {
			m.emit(Gone{Holder: e.Holder})
			return nil
		}
		m.releasing[e.Holder] = index
		m.emit(CallRelease{Holder: e.Holder, Slot: m.slot(index), Worker: m.cfg.Worker, Epoch: epoch})
		return nil
	}
	return fmt.Errorf("%w: holder %d is not known", ErrUnexpected, e.Holder)
}

func (m *Machine) released(e Released) error {
	if _, known := m.releasing[e.Holder]; !known {
		return fmt.Errorf("%w: holder %d is not released", ErrUnexpected, e.Holder)
	}
	delete(m.releasing, e.Holder)
	m.emit(Observe{Err: e.Err})
	switch {
	case e.Err == nil:
		m.mark()
	case errors.Is(e.Err, tunnel.ErrFenced), errors.Is(e.Err, tunnel.ErrNotFound), errors.Is(e.Err, tunnel.ErrUnavailable):
	default:
		m.emit(NotReleased{Err: e.Err})
	}
	m.emit(Gone{Holder: e.Holder})
	return nil
}

// drain ignores new grants and drains every holder.
func (m *Machine) drain() {
	m.leaving = true
	for _, index := range m.indices() {
		for _, h := range m.holders[index] {
			m.emit(Send{Holder: h.id, Event: lease.Event{Kind: lease.EventDrain}})
		}
	}
}

func (m *Machine) slot(index tunnel.ConnIndex) tunnel.Slot {
	return tunnel.Slot{Tunnel: m.cfg.Tunnel, Connector: m.connector, Index: index}
}

// indices lists the slots that had a holder, in order.
func (m *Machine) indices() []tunnel.ConnIndex { return slices.Sorted(maps.Keys(m.holders)) }

// newest is the state of the newest holder of a slot.
func (m *Machine) newest(index tunnel.ConnIndex) (v hold.View, found bool) {
	hs := m.holders[index]
	if len(hs) == 0 {
		return hold.View{}, false
	}
	return m.view(hs[len(hs)-1].id), true
}

// view is the present state of a holder. One that the present step starts has none yet.
func (m *Machine) view(id HolderID) hold.View {
	if id > m.running {
		return hold.View{}
	}
	return m.deps.View(id)
}

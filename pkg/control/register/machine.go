package register

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// announceTime bounds the announcement of a drain, and removeTime the removal of the record. A worker that cannot reach the store keeps
	// its sessions for announceTime: others connect its slots meanwhile, because its lease ends.
	announceTime = 15 * time.Second
	removeTime   = time.Second
	// handTime is how long other workers have at least to take the slots over, handStep how long after each slot that one took, and
	// handMost how long altogether, unless the grace period is longer. A grace period of zero cuts requests, not this.
	handTime = 15 * time.Second
	handStep = 10 * time.Second
	handMost = time.Minute
	// unregisterTime is what the drain may take beyond the grace period, for the calls to the edge.
	unregisterTime = 2 * time.Second
	// fullEvery is how many renewals pass between two that send the record, in case that the stored one cannot be read.
	fullEvery = 15
	// restTime is the shortest time between two renewals, so that many hints cost few of them.
	restTime = 10 * time.Millisecond
)

// errTimeout is the error of a call that took too long.
var errTimeout = errors.New("the store did not respond in time")

// Deps are what a machine needs of its runner.
type Deps struct {
	// Record is the record to write, without the mark of a drain.
	Record func() fleet.Worker
	// Held counts the holders that still run or whose lease has not been released.
	Held func() int
	// StoreUp reports whether the last call reached the store.
	StoreUp func() bool
}

// stage is how far the worker is on its way out.
type stage uint8

const (
	stageNew        stage = iota
	stageAcquiring        // waits for the lease
	stageStaying          // serves
	stageAnnouncing       // the record of a draining worker is being written, and others are looked for
	stageHanding          // other workers take the slots over
	stageDraining         // the holders finish their requests
	stageRemoving         // the record is being removed
	stageLeft
)

// write is why a record is written beyond the schedule.
type write struct {
	// wakes says that the supervisors are woken after it, announces that the drain waits for it.
	wakes, announces bool
}

// Machine is the state of a worker's registration. It is not safe for concurrent use.
type Machine struct {
	deps  Deps
	id    tunnel.WorkerID
	grace time.Duration
	out   []Action // what the present step does

	stage stage
	// began is when the drain began, until when the stage ends at the latest.
	began, until time.Time
	nextTick     time.Time
	// putting says that a write is in progress, for what reason, and wanted whether another one must follow it.
	putting bool
	reason  write
	wanted  *write
	// listing says that CallWorkers is in progress.
	listing bool
	// registered says that the last write succeeded. After a fault the registration may have expired.
	registered bool

	// What follows is of a worker that keeps one lease for all its slots.
	// sent is the renewal in progress, sentAt when it was sent; hinted asks for another one soon.
	sent   fleet.Renewal
	sentAt time.Time
	hinted bool
	// number counts the renewals, confirmed is the last one that succeeded; inbox and generation are what that one returned.
	number, confirmed, inbox, generation uint64
	// stored is the record that the store has; full says that it has to be sent again all the same.
	stored fleet.Worker
	full   bool
	// other is when the lease of a process with the same id ended as this one saw it first; displaced says that one was told. replaces is the
	// instance of one that has ended for certain.
	other     time.Duration
	displaced bool
	replaces  string
}

// NewMachine makes the machine of the worker id, whose drain takes at most grace.
func NewMachine(id tunnel.WorkerID, grace time.Duration, deps Deps) *Machine {
	return &Machine{deps: deps, id: id, grace: grace}
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

// Step handles one event at now and returns the actions to run, in order. now must never decrease.
func (m *Machine) Step(now time.Time, e Event) []Action {
	m.out = nil
	switch e := e.(type) {
	case Started:
		m.started(now)
	case Timer:
	case Changed:
		m.want(write{wakes: true})
	case Put:
		m.put(now, e)
	case Renewed:
		m.renewed(now, e)
	case Inspected:
		if e.Ended && m.stage == stageAcquiring {
			m.replaces = e.Instance
			m.want(write{})
		}
	case Hinted:
		m.hinted = true
	case Leave:
		m.leave(now)
	case Listed:
		m.listed(now, e)
	case HolderGone:
		if m.stage == stageHanding {
			m.until = m.handUntil(max(m.until.Sub(now), handStep), now)
		}
	case Removed:
		m.removed(e)
	}
	m.proceed(now)
	out := m.out
	m.out = nil
	return out
}

// started begins to register, once.
func (m *Machine) started(now time.Time) {
	if m.stage != stageNew {
		return
	}
	m.stage, m.nextTick = stageStaying, now
	if m.deps.Record().Instance != "" {
		m.stage, m.full = stageAcquiring, true
	}
}

// proceed does what is due at now, and asks for the next Timer.
func (m *Machine) proceed(now time.Time) {
	if m.stage == stageNew || m.stage == stageLeft {
		return
	}
	m.advance(now)
	if m.stage == stageLeft {
		return
	}
	m.write(now)
	next := m.until
	if m.stage != stageRemoving && !m.putting && (next.IsZero() || m.due().Before(next)) {
		next = m.due()
	}
	if !next.IsZero() {
		m.emit(Wake{After: max(next.Sub(now), 0)})
	}
}

// want asks for a write beyond the schedule.
func (m *Machine) want(w write) {
	if m.wanted == nil {
		m.wanted = &write{}
	}
	m.wanted.wakes = m.wanted.wakes || w.wakes
	m.wanted.announces = m.wanted.announces || w.announces
}

// write begins a write that is due: one at a time, so that the writes keep their order.
func (m *Machine) write(now time.Time) {
	if m.putting || m.stage == stageRemoving || m.wanted == nil && now.Before(m.due()) {
		return
	}
	for !now.Before(m.nextTick) {
		m.nextTick = m.nextTick.Add(lease.RenewEvery)
	}
	m.putting, m.reason, m.hinted = true, write{}, false
	if m.wanted != nil {
		m.reason, m.wanted = *m.wanted, nil
	}
	m.reason.announces = m.reason.announces || m.stage == stageAnnouncing
	record := m.deps.Record()
	record.Draining = m.stage > stageStaying
	if record.Instance == "" {
		m.emit(CallPut{Worker: record})
		return
	}
	record.Held = m.deps.Held()
	m.number++
	m.full = m.full || m.number%fullEvery == 0 || !reflect.DeepEqual(record, m.stored)
	m.sent = fleet.Renewal{Worker: record, Full: m.full, Inbox: m.inbox, Number: m.number, Confirmed: m.confirmed, Replaces: m.replaces}
	m.sentAt = now
	m.emit(CallRenew{m.sent})
}

// due is when the next renewal is due: a hint does not wait for the next tick.
func (m *Machine) due() time.Time {
	if soon := m.sentAt.Add(restTime); m.hinted && soon.Before(m.nextTick) {
		return soon
	}
	return m.nextTick
}

// renewed handles the reply to a renewal of the lease.
func (m *Machine) renewed(now time.Time, e Renewed) {
	if !m.putting {
		return
	}
	r := e.Reply
	switch {
	case e.Err != nil:
	case r.Taken != nil:
		m.taken(r.Taken)
		e.Err = &fleet.TakenError{ID: m.id, By: r.Taken.By}
	case r.Unknown:
		m.full = true
		m.putting = false
		m.emit(Observe{})
		m.want(m.reason)
		return
	default:
		m.kept(r)
	}
	if m.stage == stageLeft {
		return
	}
	m.put(now, Put{Err: e.Err})
}

// kept follows a renewal that succeeded.
func (m *Machine) kept(r fleet.Renewed) {
	lost := m.confirmed > 0 && (r.New || r.Lapsed || r.Generation != m.generation)
	m.confirmed, m.inbox, m.generation = m.sent.Number, r.Inbox, r.Generation
	if lost {
		m.full = true
	} else if m.sent.Full {
		m.full, m.stored = false, m.sent.Worker
	}
	m.other, m.displaced, m.replaces = 0, false, ""
	if m.stage == stageAcquiring {
		m.stage = stageStaying
		m.emit(Acquired{})
	}
	m.emit(Looked{Sent: m.sentAt, Lost: lost, Tunnels: r.Tunnels})
}

// taken follows a renewal that another process with the same id is in the way of. At the start, one that renews its lease lives, and this
// process has to end; one that does not has ended, and its lease runs out, or is taken at once if it is certain that it has ended. Later,
// the other one came while this one could not renew: it serves on until its slots are connected elsewhere.
func (m *Machine) taken(t *fleet.Taken) {
	err := &fleet.TakenError{ID: m.id, By: t.By}
	switch {
	case m.stage != stageAcquiring:
		if !m.displaced {
			m.displaced = true
			m.emit(Displaced{Err: err})
		}
	case m.other == 0:
		m.other = t.Until
		if t.By.Instance != "" {
			m.emit(CallInspect{t.By})
		}
	case t.Until > m.other:
		m.stage = stageLeft
		m.emit(Refused{Err: err})
	}
}

func (m *Machine) put(now time.Time, e Put) {
	if !m.putting {
		return
	}
	m.putting = false
	m.emit(Observe(e))
	if e.Err != nil && m.sent.Number > 0 {
		m.emit(Looked{Sent: m.sentAt, Err: e.Err})
	}
	if e.Err == nil && (!m.registered || m.reason.wakes) {
		m.emit(Hint{Topic: lease.TopicFleet})
	}
	m.registered = e.Err == nil
	switch {
	case m.stage == stageRemoving:
		m.emit(m.removal())
	case m.stage != stageAnnouncing || !m.reason.announces:
	case errors.Is(e.Err, tunnel.ErrUnavailable): // another try follows with the next renewal
	case e.Err != nil:
		m.drain(now)
	default:
		m.listing = true
		m.emit(CallWorkers{})
	}
}

// leave begins the drain: the record says so, and other workers are looked for.
func (m *Machine) leave(now time.Time) {
	if m.stage == stageAcquiring {
		m.left()
		return
	}
	if m.stage != stageStaying {
		return
	}
	m.began = now
	m.emit(RefuseGrants{})
	m.stage, m.until = stageAnnouncing, now.Add(announceTime)
	m.want(write{announces: true})
}

// listed waits for other workers to take the slots over, if one can.
func (m *Machine) listed(now time.Time, e Listed) {
	if !m.listing {
		return
	}
	m.listing = false
	if m.stage != stageAnnouncing {
		return
	}
	switch {
	case errors.Is(e.Err, tunnel.ErrUnavailable):
		return // another try follows the next renewal
	case e.Err != nil:
		m.drain(now)
		return
	}
	m.emit(Hint{Topic: lease.TopicFleet})
	if !slices.ContainsFunc(e.Workers, m.canReplace) {
		m.drain(now)
		return
	}
	m.stage, m.until = stageHanding, m.handUntil(max(m.grace/2, handTime), now)
}

// handUntil is when other workers must have taken the slots over, if they may have so much more time.
func (m *Machine) handUntil(more time.Duration, now time.Time) time.Time {
	last := m.began.Add(max(m.grace, handMost))
	if until := now.Add(more); until.Before(last) {
		return until
	}
	return last
}

// canReplace reports whether w can take over a slot of this worker.
func (m *Machine) canReplace(w fleet.Worker) bool {
	if w.ID == m.id || w.Draining {
		return false
	}
	own := m.deps.Record().Tunnels
	return slices.ContainsFunc(w.Tunnels, func(theirs fleet.TunnelRef) bool {
		return slices.ContainsFunc(own, func(o fleet.TunnelRef) bool { return o.ID == theirs.ID })
	})
}

// drain drains what is left.
func (m *Machine) drain(now time.Time) {
	m.stage = stageDraining
	m.until = now.Add(max(m.grace-now.Sub(m.began), 0) + unregisterTime)
	m.emit(Drain{})
}

// advance leaves stages that are over: their time is up, or no holder is left.
func (m *Machine) advance(now time.Time) {
	over := !m.until.IsZero() && !now.Before(m.until)
	if m.stage == stageAnnouncing && (over || m.deps.Held() == 0 && !m.deps.StoreUp()) {
		m.drain(now)
		over = false
	}
	if m.stage == stageHanding && (over || m.deps.Held() == 0) {
		m.drain(now)
		over = false
	}
	if m.stage == stageDraining && (over || m.deps.Held() == 0) {
		m.remove(now)
		over = false
	}
	if m.stage == stageRemoving && over {
		m.emit(NotRemoved{Err: fmt.Errorf("remove registration: %w", errTimeout)})
		m.left()
	}
}

// remove removes the record, after the write in progress, so that supervisors need not wait until it expires.
func (m *Machine) remove(now time.Time) {
	if !m.deps.StoreUp() {
		m.left()
		return
	}
	m.stage, m.until = stageRemoving, now.Add(removeTime)
	if !m.putting {
		m.emit(m.removal())
	}
}

// removal removes the record of this process.
func (m *Machine) removal() CallRemove {
	return CallRemove{ID: m.id, Instance: m.deps.Record().Instance}
}

func (m *Machine) removed(e Removed) {
	if m.stage != stageRemoving {
		return
	}
	if e.Err != nil {
		m.emit(NotRemoved(e))
	} else {
		m.emit(Hint{Topic: lease.TopicFleet})
	}
	m.left()
}

func (m *Machine) left() {
	m.stage = stageLeft
	m.emit(Left{})
}

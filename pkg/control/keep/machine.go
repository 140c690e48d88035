package keep

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// restTime is the shortest time between two renewals, so that many changes cost few calls.
	restTime = 10 * time.Millisecond
	// poolEvery is how many renewals pass between two reads of the edge pool.
	poolEvery = 15
	// identifyBase and identifyRetries shape the waits between two attempts to learn the connector id.
	identifyBase    = 100 * time.Millisecond
	identifyRetries = 5
	// offerAfter is how long a keeper that knows no connector id waits for one in the store before it offers a new one: after the store
	// was emptied, the workers that have sessions give it the old one back meanwhile.
	offerAfter = 2500 * time.Millisecond
	// askTime is the same in a store that nothing was lost from, as far as one can see: no worker is registered that could know an id, and
	// there is an edge pool, which an emptied store gets back only after a while. Workers that look when they are asked have offered
	// theirs by then.
	askTime = 250 * time.Millisecond
	// checkEvery is how old the edge pool and the connector id may be when slots are reported.
	checkEvery = poolEvery * lease.RenewEvery
	// lazyEvery is the time between two looks of a lazy keeper without slots.
	lazyEvery = 24 * time.Hour
	// idleMost is the longest time between two looks of a worker without slots at a tunnel that nobody serves.
	idleMost = time.Minute
)

// ErrUnexpected says that a reply came that the machine did not wait for: the runner has a defect.
var ErrUnexpected = errors.New("unexpected event")

// Config are the settings of a keeper.
type Config struct {
	Tunnel tunnel.ID
	Worker tunnel.WorkerID
	// Instance is this process of the worker, which keeps one lease for all its slots: then the keeper calls the store only when something
	// changes. If it is empty, the keeper renews the lease of each slot.
	Instance string
	// Pool names the edge pool; Family restricts its addresses.
	Pool   string
	Family edgepool.Family
	// Protocol is the operator's choice on this host. Token says that the credentials came as a run token, AccountHash is the hash of
	// their account: both matter for the choice among transports (docs/spec/wire.md 14).
	Protocol    protocol.Choice
	Token       bool
	AccountHash uint8
	// Alone says that no other process uses the store, so that nobody else can know the connector id.
	Alone bool
	// Lazy makes a keeper without slots ask the store nothing before the worker's inbox has news of the tunnel. It needs an Instance. A new
	// tunnel gets its connector id from a supervisor then, after some seconds.
	Lazy bool
}

// Choices is what the host knows of the transports, for all its tunnels; protocol.Choices has the methods.
type Choices interface {
	Next(now time.Time, slot tunnel.Slot, s protocol.Selection) protocol.Try
	Prefers(now time.Time, slot tunnel.Slot, s protocol.Selection) tunnel.Protocol
	Report(now time.Time, slot tunnel.Slot, p tunnel.Protocol, e protocol.Event, addr netip.AddrPort) (protocol.Change, error)
	ProbeDue(now time.Time, slot tunnel.Slot) (tunnel.Protocol, bool)
	Probed(now time.Time, slot tunnel.Slot, e protocol.Event) (protocol.Change, error)
}

// Deps are what a machine needs of its runner.
type Deps struct {
	// View is the present state of a holder that was started and has not ended.
	View    func(HolderID) hold.View
	Choices Choices
	// Candidate makes a new connector id.
	Candidate func() (tunnel.ConnectorID, error)
	// Backoff and Pick are the randomness of waits and of the choice among addresses.
	Backoff backoff.Random
	Pick    edgepool.Random
}

// stage is what the loop of a keeper waits for.
type stage uint8

const (
	stageNew         stage = iota // Started
	stageIdentifying              // the reply to CallConnector
	stageAsking                   // the reply to CallWorkers
	stagePeeking                  // the reply to CallPool, before the connector id is known
	stageRetrying                 // the time for another CallConnector
	stageReading                  // the reply to CallPool
	stageRenewing                 // the reply to CallRenew
	stageResting                  // the end of restTime
	stageIdle                     // the next tick, or Woken
)

// holder is one holder of a slot.
type holder struct {
	id HolderID
	// offered is the newest epoch that was sent to the holder, even if it has not handled it yet.
	offered tunnel.Epoch
}

// Machine is the state of the keeper of one tunnel. It is not safe for concurrent use.
type Machine struct {
	cfg  Config
	deps Deps
	out  []Action // what the present step does

	stage    stage
	woken    bool // Woken came since the last turn began
	failures int  // attempts to identify that failed
	asks     bool // the connector id is to be offered again
	// displaced says that another process has the id of this worker.
	displaced bool
	// marking says that a Mark is on its way, unmarked that another one has to follow it.
	marking, unmarked bool
	offered           bool // the last CallConnector did
	reoffer           bool // it is to be offered again after the next renewal
	idle              int  // looks in a row at a tunnel that nobody serves
	// checked is when the connector id was read last, polled when the pool was.
	checked, polled time.Time
	// since is when the store was reached without giving a connector id for the first time, and offerAt when a new one is offered. outage
	// says that a call failed before.
	since, offerAt time.Time
	outage         bool
	renewals       int
	wakeAt         time.Time // of the last Wake
	nextTick       time.Time
	// sent are the reports of the renewal in progress, and news says that a supervisor has to act on one of them.
	sent []lease.Report
	news bool
	// sentAt is when it was sent; looked is when the last one was sent that came back.
	sentAt, looked time.Time
	// lost says that the last renewal failed; told are the damaged slots that were told.
	lost bool
	told map[string]bool

	connector tunnel.ConnectorID
	holders   map[tunnel.ConnIndex][]holder // the newest last
	lastID    HolderID
	commands  map[tunnel.ConnIndex]commands
	running   HolderID                          // the last one that was started before the present step
	last      map[tunnel.ConnIndex]tunnel.Epoch // the newest epoch that was ever held
	records   map[tunnel.ConnIndex]lease.Record
	reported  map[tunnel.ConnIndex]lease.Status // the last statuses that the store has
	releasing map[HolderID]tunnel.ConnIndex     // holders that ended and whose lease is being released
	left      map[tunnel.ConnIndex]time.Time    // since when slots of a former process with this worker's id are seen
	pool      edgepool.Pool
	health    edgepool.Health
	full      time.Time // when as many grants may start again as the registration bucket lets through at once
	late      bool      // some grant since full was in the past was seen late
	leaving   bool      // no new grant is accepted
	chose     bool      // a transport was chosen for the first attempt
}

// NewMachine makes a keeper that waits for Started.
func NewMachine(cfg Config, deps Deps) *Machine {
	return &Machine{
		cfg: cfg, deps: deps,
		holders:   map[tunnel.ConnIndex][]holder{},
		commands:  map[tunnel.ConnIndex]commands{},
		last:      map[tunnel.ConnIndex]tunnel.Epoch{},
		records:   map[tunnel.ConnIndex]lease.Record{},
		reported:  map[tunnel.ConnIndex]lease.Status{},
		releasing: map[HolderID]tunnel.ConnIndex{},
		told:      map[string]bool{},
		left:      map[tunnel.ConnIndex]time.Time{},
	}
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

// Step handles one event at now and returns the actions to run, in order. now must never decrease. An error says that nobody waits for
// the event; it changed nothing.
func (m *Machine) Step(now time.Time, e Event) ([]Action, error) {
	m.out = nil
	var err error
	switch e := e.(type) {
	case Started:
		err = m.expect(e, stageNew, func() { m.started(now) })
	case Timer:
		m.timer(now)
	case Woken:
		m.woken = true
		if m.stage == stageIdle {
			m.turn(now)
		}
	case Identified:
		err = m.expect(e, stageIdentifying, func() { m.identified(now, e) })
	case Listed:
		err = m.expect(e, stageAsking, func() { m.listed(now, e) })
	case PoolRead:
		if m.stage == stagePeeking {
			m.peeked(now, e)
			break
		}
		err = m.expect(e, stageReading, func() { m.poolRead(now, e) })
	case Looked:
		m.look(now, e)
	case Renewed:
		err = m.expect(e, stageRenewing, func() { m.renewed(now, e) })
	case Marked, HolderEnded, Released, Probed:
		err = m.ended(now, e)
	case RefuseGrants:
		m.leaving = true
	case Drain:
		m.drain()
	}
	out := m.out
	m.out, m.running = nil, m.lastID
	return out, err
}

// expect handles an event that belongs to one stage.
func (m *Machine) expect(e Event, s stage, handle func()) error {
	if m.stage != s {
		return fmt.Errorf("%w: %T", ErrUnexpected, e)
	}
	handle()
	return nil
}

// timer goes on when the time of the last Wake has come.
func (m *Machine) timer(now time.Time) {
	if now.Before(m.wakeAt) {
		return // from a Wake that a later one replaced
	}
	switch m.stage {
	case stageRetrying:
		m.identify(now)
	case stageResting:
		if m.woken || !now.Before(m.nextTick) {
			m.turn(now)
			return
		}
		m.wait(now, stageIdle, m.nextTick.Sub(now))
	case stageIdle:
		m.turn(now)
	case stageNew, stageIdentifying, stageAsking, stagePeeking, stageReading, stageRenewing: // a Wake that came before the call
	}
}

// wait enters a stage that ends after d.
func (m *Machine) wait(now time.Time, s stage, d time.Duration) {
	m.stage = s
	m.wakeAt = now.Add(d)
	m.emit(Wake{After: d})
}

// identify asks the store for the connector id, and offers the one that is known here: a store that lost it gets it back.
func (m *Machine) identify(now time.Time) {
	candidate := m.connector
	if m.cfg.Instance != "" && !m.asks {
		candidate = tunnel.ConnectorID{} // nothing says that the store lost it: it is only read
	}
	if m.connector.IsZero() && (m.cfg.Alone || !m.since.IsZero() && !now.Before(m.offerAt)) {
		fresh, err := m.deps.Candidate()
		if err != nil {
			m.identifyLater(now)
			return
		}
		candidate = fresh
	}
	m.asks, m.offered = false, !candidate.IsZero()
	m.stage = stageIdentifying
	m.emit(CallConnector{Tunnel: m.cfg.Tunnel, Candidate: candidate})
}

// identifyLater tries again after a back-off, and not later than a new id is to be offered.
func (m *Machine) identifyLater(now time.Time) {
	m.failures++
	policy := backoff.Policy{Base: identifyBase, Retries: identifyRetries}
	wait := policy.Wait(m.failures, m.deps.Backoff)
	if left := m.offerAt.Sub(now); left > 0 {
		wait = min(wait, left)
	}
	m.wait(now, stageRetrying, wait)
}

func (m *Machine) identified(now time.Time, e Identified) {
	known := !m.connector.IsZero()
	m.checked = now
	missing := errors.Is(e.Err, tunnel.ErrNotFound)
	if !missing {
		m.emit(Observe{Err: e.Err})
	}
	switch {
	case missing && !known && m.cfg.Lazy:
		m.sleep(now)
		return
	case e.Err != nil && !known:
		m.unnamed(now, missing)
		return
	case missing && !m.offered:
		m.reoffer = true // after the slots were reported: whoever knows the id again finds them
	case e.Err == nil:
		m.name(e.Connector)
	}
	if !known && !m.since.IsZero() {
		m.mark() // the supervisors found no connector id either
	}
	if !known {
		m.nextTick = now.Add(lease.RenewEvery)
	}
	m.turn(now)
}

// unnamed goes on without a connector id; missing says that the store has none.
func (m *Machine) unnamed(now time.Time, missing bool) {
	if !missing {
		m.outage = true
		m.identifyLater(now)
		return
	}
	first := m.since.IsZero()
	if first {
		m.since, m.offerAt = now, now.Add(offerAfter)
	}
	if m.outage {
		m.identifyLater(now)
		return
	}
	if first {
		m.askReports()
	}
	m.stage = stageAsking
	m.emit(CallWorkers{})
}

// askReports makes whoever has sessions notice that the store lost them.
func (m *Machine) askReports() {
	topic := lease.TopicReports
	if m.cfg.Instance == "" {
		topic = lease.TopicGrants
	}
	m.emit(Hint{Topic: topic})
}

// listed goes on to look whether the store has a pool if there is no worker that could know the connector id. A worker that has seen the
// store come back does not ask: those that have sessions may see it later.
func (m *Machine) listed(now time.Time, e Listed) {
	m.emit(Observe{Err: e.Err})
	knows := slices.ContainsFunc(e.Workers, func(w fleet.Worker) bool {
		return slices.ContainsFunc(w.Tunnels, func(t fleet.TunnelRef) bool { return t.ID == m.cfg.Tunnel && t.Named })
	})
	if e.Err != nil || knows {
		m.outage = m.outage || e.Err != nil
		m.identifyLater(now)
		return
	}
	m.stage = stagePeeking
	m.emit(CallPool{Name: m.cfg.Pool})
}

// peeked offers a new id soon if the store has a pool.
func (m *Machine) peeked(now time.Time, e PoolRead) {
	if !errors.Is(e.Err, tunnel.ErrNotFound) {
		m.emit(Observe{Err: e.Err})
	}
	if e.Err != nil {
		m.outage = m.outage || !errors.Is(e.Err, tunnel.ErrNotFound)
		m.identifyLater(now)
		return
	}
	m.offerAt = m.since.Add(askTime)
	m.wait(now, stageRetrying, max(m.offerAt.Sub(now), 0))
}

// name takes the connector id of the store. When it is another one than before, the sessions stay, and their slots are reported under the
// new one.
func (m *Machine) name(id tunnel.ConnectorID) {
	if id == m.connector {
		return
	}
	m.emit(Named{Connector: id, Former: m.connector})
	m.connector = id
	clear(m.records)
	clear(m.reported)
	for _, index := range m.indices() {
		for _, h := range m.holders[index] {
			m.emit(Rename{Holder: h.id, Connector: id})
		}
	}
}

// turn begins one turn of the loop: a renewal, and before some of them a read of the pool.
func (m *Machine) turn(now time.Time) {
	m.woken = false
	for !now.Before(m.nextTick) {
		m.nextTick = m.nextTick.Add(lease.RenewEvery)
	}
	if m.asks || m.cfg.Lazy && m.connector.IsZero() || m.cfg.Instance != "" && now.Sub(m.checked) >= checkEvery {
		m.identify(now)
		return
	}
	if m.poolIsOld(now) {
		m.stage = stageReading
		m.emit(CallPool{Name: m.cfg.Pool})
		return
	}
	m.renew(now)
}

// poolRead takes the pool. The last good one stays for the time when the store is unavailable.
func (m *Machine) poolRead(now time.Time, e PoolRead) {
	if !errors.Is(e.Err, tunnel.ErrNotFound) {
		m.emit(Observe{Err: e.Err})
	}
	m.polled = now
	if e.Err == nil {
		m.pool, m.health = e.Pool, m.health.Within(e.Pool)
	}
	m.renew(now)
}

func (m *Machine) renew(now time.Time) {
	m.asks = m.asks || m.cfg.Instance == "" && m.renewals > 0 && m.renewals%poolEvery == 0
	m.sent, m.news = m.reports(now)
	m.sentAt = now
	m.stage = stageRenewing
	m.emit(CallRenew{Tunnel: m.cfg.Tunnel, Connector: m.connector, Worker: m.cfg.Worker, Instance: m.cfg.Instance, Reports: m.sent})
}

func (m *Machine) renewed(now time.Time, e Renewed) {
	m.emit(Observe{Err: e.Err})
	if e.Err == nil || now.Sub(m.sentAt) <= lease.LeaseTTL {
		m.looked = m.sentAt
	}
	switch {
	case e.Err == nil:
		for _, r := range m.sent {
			m.reported[r.Index] = r.Status
		}
		if m.news || e.Table.Claimed > 0 && m.cfg.Instance != "" {
			m.mark()
		}
		// A store that lost slots lost the connector id, too: it gets it back at once.
		back := e.Table.Claimed > 0 || m.reoffer
		m.asks = m.asks || m.lost || back
		m.woken = m.woken || back
		m.reoffer = false
		m.tellDamage(e.Table.Damaged)
		m.reconcile(now, e.Table.Records)
	case !errors.Is(e.Err, tunnel.ErrUnavailable):
		m.emit(NotRenewed{Err: e.Err})
	}
	m.lost = e.Err != nil
	m.sent, m.news = nil, false
	m.renewals++
	m.probe(now)
	m.pace(now)
	m.wait(now, stageResting, restTime)
}

// Fresh reports whether the last look into the store is not longer ago than a lease. A look that failed counts: then the worker acts by
// itself. Before the first look nothing is held that another worker could have got.
func (m *Machine) Fresh(now time.Time) bool {
	return m.looked.IsZero() || now.Sub(m.looked) <= lease.LeaseTTL
}

// tellDamage tells each damaged slot once.
func (m *Machine) tellDamage(list []lease.Damaged) {
	told := map[string]bool{}
	for _, d := range list {
		told[d.String()] = true
		if !m.told[d.String()] {
			m.emit(Damaged{Damaged: d})
		}
	}
	m.told = told
}

// reports lists the status of the newest holder of each slot; news means that a supervisor has to act on one of them.
func (m *Machine) reports(now time.Time) (list []lease.Report, news bool) {
	for _, index := range m.indices() {
		v, ok := m.newest(index)
		if !ok || v.Phase == lease.PhaseIdle || v.Phase == lease.PhaseEnded {
			continue
		}
		v.Status.Prefers = m.prefers(now, index, v)
		if m.cfg.Instance != "" {
			v.Status.InFlight = 0 // it changes all the time; the worker itself says it
		}
		list = append(list, lease.Report{
			Index: index, Epoch: v.Grant.Epoch, Edge: v.Grant.Edge, Protocol: v.Grant.Protocol, Status: v.Status, Away: max(v.Away.Sub(now), 0),
		})
		known, current := m.reported[index], v.Status
		known.InFlight, current.InFlight = 0, 0
		news = news || known != current
	}
	return list, news
}

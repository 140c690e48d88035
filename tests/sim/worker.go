package sim

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/control/register"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/sim/engine"
)

// worker is the program of a conn-worker: the machine of its registration, and one of package keep for each tunnel.
type worker struct {
	spec         WorkerSpec
	env          *Env
	registration *register.Machine
	timer        engine.Timer
	choices      *protocol.Choices
	keepers      []*keeper
	reach        keep.Reach
	// hooks let a test plant a fault.
	hooks workerHooks
	// todo are events for machines that arrived while another one was handled.
	todo    []func()
	started bool // the keepers run
	working bool
}

// workerHooks change what machines get; nil changes nothing.
type workerHooks struct {
	// send changes an event for a holder; renewed runs after a keeper has handled the records.
	send    func(lease.Event) lease.Event
	renewed func(k *keeper, records []lease.Record)
}

func newWorker(spec WorkerSpec) Actor { return &worker{spec: spec} }

// Start registers the worker, and starts its keepers.
func (w *worker) Start(env *Env) {
	w.env = env
	w.choices = protocol.NewChoices(env.Rand().Int64N, w.spec.ReturnAfter)
	w.registration = register.NewMachine(tunnel.WorkerID(w.spec.ID), w.spec.Grace, register.Deps{
		Record: w.record, Held: w.held, StoreUp: func() bool { return w.reach.Responds() },
	})
	for _, ref := range w.spec.Tunnels {
		w.keepers = append(w.keepers, newKeeper(w, ref))
	}
	env.Watch(func() { w.post(w.wakeAll) }, lease.TopicGrants)
	if w.spec.Legacy {
		w.startKeepers()
	} else {
		env.Watch(func() { w.post(func() { w.register(register.Hinted{}) }) }, lease.GrantsOf(tunnel.WorkerID(w.spec.ID)),
			lease.TopicReports)
	}
	w.post(func() { w.register(register.Started{}) })
}

func (w *worker) startKeepers() {
	w.started = true
	w.all(keep.Started{})
}

// instance is the name of this process in the store.
func (w *worker) instance() string {
	if w.spec.Legacy {
		return ""
	}
	return w.env.Instance()
}

// Stop begins the drain.
func (w *worker) Stop() { w.post(func() { w.register(register.Leave{}) }) }

// Holders lists the holders of all tunnels.
func (w *worker) Holders() []HolderView {
	var list []HolderView
	for _, k := range w.keepers {
		for _, h := range k.machine.Holders() {
			v := k.view(h.Holder)
			list = append(list, HolderView{Slot: h.Slot, Epoch: v.Grant.Epoch, Phase: v.Phase, Edge: v.Edge})
		}
	}
	return list
}

// post handles an event after the one in progress: no machine is called while it decides.
func (w *worker) post(f func()) {
	w.todo = append(w.todo, f)
	if w.working {
		return
	}
	w.working = true
	for len(w.todo) > 0 {
		next := w.todo[0]
		w.todo = w.todo[1:]
		next()
	}
	w.working = false
}

func (w *worker) record() fleet.Worker {
	record := fleet.Worker{
		ID: tunnel.WorkerID(w.spec.ID), Instance: w.instance(), Host: w.spec.Host, Version: "sim", Capacity: w.spec.Capacity,
		Marks: !w.spec.Legacy && !w.spec.Unmarked, Families: "46",
	}
	demanded := tunnel.Protocol("")
	if w.spec.Protocol != protocol.Auto {
		demanded = protocol.Select(protocol.Criteria{Choice: w.spec.Protocol}).Preferred
	}
	for i, ref := range w.spec.Tunnels {
		ref.Named = !w.keepers[i].machine.Connector().IsZero()
		ref.Pool, ref.IPVersion, ref.Connections, ref.Protocol = w.spec.Pool, w.spec.Family.String(), w.spec.Connections, demanded
		record.Tunnels = append(record.Tunnels, ref)
	}
	return record
}

func (w *worker) held() int {
	n := 0
	for _, k := range w.keepers {
		n += k.machine.Count()
	}
	return n
}

func (w *worker) wakeAll() {
	if w.started {
		w.all(keep.Woken{})
	}
}

// observe follows whether the store is available.
func (w *worker) observe(err error) {
	if !w.reach.Observe(w.env.Now(), err) {
		return
	}
	if w.reach.Up() {
		w.env.Observe(Fact{Text: "control plane is available again"})
		return
	}
	w.env.Observe(Fact{Text: "control plane is unavailable, connections stay"})
}

// keeper runs the machine that keeps the leases of one tunnel.
type keeper struct {
	worker  *worker
	tunnel  tunnel.ID
	machine *keep.Machine
	timer   engine.Timer
	holders map[keep.HolderID]*holder
}

func newKeeper(w *worker, ref fleet.TunnelRef) *keeper {
	k := &keeper{worker: w, tunnel: ref.ID, holders: map[keep.HolderID]*holder{}}
	rand := w.env.Rand()
	k.machine = keep.NewMachine(keep.Config{
		Tunnel: ref.ID, Worker: tunnel.WorkerID(w.spec.ID), Instance: w.instance(), Pool: w.spec.Pool, Family: w.spec.Family,
		Protocol:    w.spec.Protocol,
		AccountHash: ref.AccountHash,
		Lazy:        w.spec.Lazy && w.instance() != "",
	}, keep.Deps{
		View: k.view, Choices: w.choices,
		Candidate: func() (tunnel.ConnectorID, error) { return tunnel.NewConnectorID(entropy{rand}) },
		Backoff:   rand.Int64N, Pick: rand.IntN,
	})
	return k
}

// view is the state of a holder that runs.
func (k *keeper) view(id keep.HolderID) hold.View { return k.holders[id].machine.View() }

// step hands an event to the machine and carries out what it decides.
func (k *keeper) step(e keep.Event) {
	if !k.worker.env.process.Alive() {
		return
	}
	actions, err := k.machine.Step(k.worker.env.Now(), e)
	if err != nil {
		k.worker.env.Defect(err)
	}
	k.run(actions)
	if r, ok := e.(keep.Renewed); ok && k.worker.hooks.renewed != nil {
		k.worker.hooks.renewed(k, r.Table.Records)
	}
}

func (k *keeper) run(actions []keep.Action) {
	w := k.worker
	for _, a := range actions {
		switch a := a.(type) {
		case keep.CallConnector, keep.CallWorkers, keep.CallPool, keep.CallRenew, keep.CallRelease, keep.Mark:
			k.call(a)
		case keep.Hint:
			w.env.Hint(a.Topic)
		case keep.Observe:
			w.observe(a.Err)
		case keep.Start:
			k.holders[a.Holder] = newHolder(k, a.Holder, a.Slot)
		case keep.Send:
			if h := k.holders[a.Holder]; h != nil {
				e := a.Event
				if w.hooks.send != nil {
					e = w.hooks.send(e)
				}
				h.step(hold.Sent{Event: e})
			}
		case keep.Rename:
			k.holders[a.Holder].step(hold.Renamed{Connector: a.Connector})
		case keep.Wake:
			k.timer.Stop()
			k.timer = w.env.After(a.After, "keeper", func() { w.post(func() { k.step(keep.Timer{}) }) })
		case keep.WakeAll:
			w.wakeAll()
		case keep.Gone:
			delete(k.holders, a.Holder)
			w.post(func() { w.register(register.HolderGone{}) })
		case keep.Probe:
			k.probe(a)
		default:
			k.tell(a)
		}
	}
}

// tell says what the worker logs.
func (k *keeper) tell(a keep.Action) {
	env := k.worker.env
	switch a := a.(type) {
	case keep.Named:
		env.Note("connector " + a.Connector.String())
	case keep.Damaged:
		env.Observe(Fact{Text: "stored slot cannot be read", Subject: a.String()})
	case keep.NotRenewed:
		env.Note("leases not renewed: " + a.Err.Error())
	case keep.NotReleased:
		env.Note("lease not released: " + a.Err.Error())
	case keep.Turned:
		if a.Change.Turn != protocol.ProbeFailed {
			env.Observe(Fact{Text: "transport: " + a.Change.Turn.String(), Subject: name(a.Slot)})
		}
	case keep.Rejected:
		env.Defect(a.Err)
	default:
		env.Defect(fmt.Errorf("worker: nothing carries out %T", a))
	}
}

// call makes a call to the store.
func (k *keeper) call(a keep.Action) {
	env := k.worker.env
	reply := func(e keep.Event) { k.worker.post(func() { k.step(e) }) }
	switch a := a.(type) {
	case keep.CallConnector:
		if a.Candidate.IsZero() {
			Call(env, command.Connector(a.Tunnel), func(id tunnel.ConnectorID, err error) {
				reply(keep.Identified{Connector: id, Err: err})
			})
			return
		}
		Call(env, command.OfferConnector(a.Tunnel, a.Candidate), func(_ command.Done, err error) {
			if err != nil {
				reply(keep.Identified{Err: err})
				return
			}
			Call(env, command.Connector(a.Tunnel), func(id tunnel.ConnectorID, err error) {
				reply(keep.Identified{Connector: id, Err: err})
			})
		})
	case keep.CallWorkers:
		Call(env, command.Workers(), func(list []fleet.Worker, err error) { reply(keep.Listed{Workers: list, Err: err}) })
	case keep.CallPool:
		Call(env, command.Pool(a.Name), func(p edgepool.Pool, err error) { reply(keep.PoolRead{Pool: p, Err: err}) })
	case keep.CallRenew:
		r, err := command.Report(a.Tunnel, a.Connector, a.Worker, a.Instance, a.Reports)
		if a.Instance == "" {
			r, err = command.Renew(a.Tunnel, a.Connector, a.Worker, a.Reports, lease.LeaseTTL)
		}
		if err != nil {
			reply(keep.Renewed{Err: err})
			return
		}
		Call(env, r, func(t lease.Table, err error) { reply(keep.Renewed{Table: t, Err: err}) })
	case keep.Mark:
		if k.worker.spec.Unmarked {
			env.Hint(lease.TopicStatus)
			reply(keep.Marked{})
			return
		}
		Call(env, command.Mark([]tunnel.ID{a.Tunnel}), func(_ command.Done, err error) {
			if err == nil {
				env.Hint(lease.TopicStatus)
			}
			reply(keep.Marked{Err: err})
		})
	case keep.CallRelease:
		Call(env, command.Release(a.Slot, a.Worker, a.Epoch), func(_ command.Done, err error) {
			reply(keep.Released{Holder: a.Holder, Err: err})
		})
	}
}

// probe dials the address over another transport, and closes the session.
func (k *keeper) probe(a keep.Probe) {
	k.worker.env.Dial(a.Slot, a.Edge, a.Protocol, func(s *Session, err error) {
		if err == nil {
			s.Close()
		}
		k.worker.post(func() { k.step(keep.Probed{Slot: a.Slot, Edge: a.Edge, Err: err}) })
	})
}

// holder runs the machine that holds one slot.
type holder struct {
	keeper  *keeper
	id      keep.HolderID
	machine *hold.Machine
	timer   engine.Timer
	tries   map[uint64]*try
	ended   bool
}

// try is one attempt to connect: its dial, then its session.
type try struct {
	cancel       func()
	dialing      bool
	session      *Session
	serving      bool
	unregistered bool
	drain        func() // waits for the end of the unregistration
}

func newHolder(k *keeper, id keep.HolderID, slot tunnel.Slot) *holder {
	h := &holder{keeper: k, id: id, tries: map[uint64]*try{}}
	times := hold.Times{Grace: k.worker.spec.Grace, Retries: k.worker.spec.Retries}
	h.machine = hold.NewMachine(slot, host{k}, times.Policy(k.worker.env.Rand().Int64N))
	return h
}

// host is a keeper as its holders see it.
type host struct{ k *keeper }

func (h host) Protocol(now time.Time, slot tunnel.Slot, demanded tunnel.Protocol) protocol.Try {
	t, _ := h.k.machine.Protocol(now, slot, demanded)
	return t
}

// holds reports whether the second dial of an attempt has to wait.
func (k *keeper) holds(slot tunnel.Slot, demanded tunnel.Protocol) bool {
	return host{k}.Protocol(k.worker.env.Now(), slot, demanded).Held
}

func (h host) Dialed(now time.Time, edge tunnel.EdgeAddr, reason tunnel.Reason) {
	h.k.machine.Dialed(now, edge, reason)
}

func (h host) Observe(now time.Time, slot tunnel.Slot, a hold.Attempt, e protocol.Event) bool {
	fell, actions := h.k.machine.Observe(now, slot, a, e)
	h.k.worker.post(func() { h.k.run(actions) })
	return fell
}

func (h host) Rotate(now time.Time, slot tunnel.Slot, avoid tunnel.EdgeAddr) tunnel.EdgeAddr {
	return h.k.machine.Rotate(now, slot, avoid)
}

func (h host) StoreDown() bool { return !h.k.worker.reach.Up() }

func (h host) Fresh(now time.Time) bool {
	return !h.k.worker.reach.Responds() || h.k.machine.Fresh(now)
}

// post handles an event of the holder in turn.
func (h *holder) post(e hold.Event) {
	h.keeper.worker.post(func() { h.step(e) })
}

func (h *holder) step(e hold.Event) {
	env := h.keeper.worker.env
	if !env.process.Alive() {
		return
	}
	actions, err := h.machine.Step(env.Now(), e)
	if err != nil {
		env.Defect(err)
	}
	for _, a := range actions {
		h.run(a)
	}
	if h.machine.Ended() && !h.ended {
		h.ended = true
		h.timer.Stop()
		h.keeper.worker.post(func() { h.keeper.step(keep.HolderEnded{Holder: h.id}) })
	}
}

func (h *holder) run(a hold.Action) {
	w := h.keeper.worker
	switch a := a.(type) {
	case hold.Note:
		if a.Before != a.View.Phase {
			w.env.Note(fmt.Sprintf("%s epoch %d %s -> %s (%s)", name(h.machine.Slot()), a.View.Grant.Epoch, a.Before, a.View.Phase, a.Event.Kind))
		}
	case hold.Dial:
		h.dial(a)
	case hold.Wake:
		h.timer.Stop()
		h.timer = w.env.After(a.After, "holder", func() { h.post(hold.Timer{}) })
	case hold.Report:
		w.post(func() { h.keeper.step(keep.Woken{}) })
	case hold.Upload:
	case hold.Announce:
		w.env.Observe(Fact{Text: "edge refuses the credentials of this tunnel, retrying slowly", Subject: name(h.machine.Slot())})
	case hold.Close:
		h.close(a.Attempt)
	default:
		h.connection(a)
	}
}

// close ends an attempt. One dial in four is too far to be cancelled: its result comes late.
func (h *holder) close(a hold.Attempt) {
	t := h.tries[a.Number]
	if t == nil {
		return
	}
	if t.dialing && h.keeper.worker.env.Rand().IntN(4) == 0 {
		h.keeper.worker.env.Note("dial goes on after it was given up")
		return
	}
	delete(h.tries, a.Number)
	t.cancel()
	if t.session == nil {
		return
	}
	t.session.Close()
	if t.serving {
		h.post(hold.Ended{Attempt: a, Err: errClosed})
	}
}

// connection carries out what happens on a session.
func (h *holder) connection(a hold.Action) {
	w := h.keeper.worker
	switch a := a.(type) {
	case hold.Register:
		r := Registration{Slot: h.machine.Slot(), Epoch: a.Epoch, PreviousAttempts: a.PreviousAttempts}
		h.tries[a.Attempt.Number].session.Register(r, w.spec.RPCTimeout, func(location string, err error) {
			h.post(hold.Registered{Attempt: a.Attempt, Location: location, Err: err})
		})
	case hold.Serve:
		t := h.tries[a.Attempt.Number]
		t.serving = true
		t.session.OnEnd(func(err error) { h.post(hold.Ended{Attempt: a.Attempt, Err: err}) })
	case hold.Unregister:
		t := h.tries[a.Attempt.Number]
		t.session.Unregister(w.spec.RPCTimeout, func(error) {
			t.unregistered = true
			if t.drain != nil {
				t.drain()
			}
		})
	case hold.Drain:
		t := h.tries[a.Attempt.Number]
		until := w.env.Now().Add(a.Within)
		t.drain = func() {
			t.session.Drained(max(until.Sub(w.env.Now()), 0), func() { h.post(hold.Drained{Attempt: a.Attempt}) })
		}
		if t.unregistered {
			t.drain()
		}
	default:
		w.env.Defect(fmt.Errorf("worker: nothing carries out %T", a))
	}
}

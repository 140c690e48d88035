package sim

import (
	"fmt"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/control/register"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// register steps the machine of the registration.
func (w *worker) register(e register.Event) {
	for _, a := range w.registration.Step(w.env.Now(), e) {
		switch a := a.(type) {
		case register.CallPut, register.CallRenew, register.CallInspect, register.CallWorkers, register.CallRemove:
			w.callRegistry(a)
		case register.Observe:
			w.observe(a.Err)
		case register.Hint:
			w.env.Hint(a.Topic)
		case register.Acquired:
			w.startKeepers()
		case register.Refused:
			w.env.Observe(Fact{Text: "worker id belongs to another process", Subject: w.env.Instance()})
			w.env.Exit()
			return
		case register.Displaced:
			w.env.Observe(Fact{Text: "another process has the id of this worker", Subject: w.env.Instance()})
		case register.Looked:
			for _, k := range w.keepers {
				e := keep.Looked{Sent: a.Sent, Err: a.Err, Lost: a.Lost, News: slices.Contains(a.Tunnels, k.tunnel)}
				w.post(func() { k.step(e) })
			}
		case register.RefuseGrants:
			w.all(keep.RefuseGrants{})
		case register.Drain:
			w.all(keep.Drain{})
		case register.Wake:
			w.timer.Stop()
			w.timer = w.env.After(a.After, "registration", func() { w.post(func() { w.register(register.Timer{}) }) })
		case register.NotRemoved:
			w.env.Note("registration not removed: " + a.Err.Error())
		case register.Left:
			w.env.Exit()
		default:
			w.env.Defect(fmt.Errorf("worker: nothing carries out %T", a))
		}
	}
}

func (w *worker) all(e keep.Event) {
	for _, k := range w.keepers {
		w.post(func() { k.step(e) })
	}
}

func (w *worker) callRegistry(a register.Action) {
	reply := func(e register.Event) { w.post(func() { w.register(e) }) }
	switch a := a.(type) {
	case register.CallPut:
		r, err := command.PutWorker(a.Worker, lease.WorkerTTL)
		if err != nil {
			reply(register.Put{Err: err})
			return
		}
		Call(w.env, r, func(_ command.Done, err error) { reply(register.Put{Err: err}) })
	case register.CallRenew:
		r, err := command.RenewWorker(a.Renewal, lease.WorkerTTL)
		if err != nil {
			reply(register.Renewed{Err: err})
			return
		}
		Call(w.env, r, func(r fleet.Renewed, err error) { reply(register.Renewed{Reply: r, Err: err}) })
	case register.CallInspect:
		reply(register.Inspected{Instance: a.Instance, Ended: a.Host == w.spec.Host && !w.env.cluster.runs(a.Instance)})
	case register.CallWorkers:
		Call(w.env, command.Workers(), func(list []fleet.Worker, err error) { reply(register.Listed{Workers: list, Err: err}) })
	case register.CallRemove:
		Call(w.env, command.RemoveWorker(a.ID, a.Instance), func(_ command.Done, err error) { reply(register.Removed{Err: err}) })
	}
}

package sim

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/retain"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// discoveryStop is how long a replica that stops takes to give up the lead, as in services/discovery.
const discoveryStop = 2 * time.Second

// discovery is the program of a replica of discovery: the machine of package retain, whose calls go over the simulated network.
type discovery struct {
	spec    DiscoverySpec
	env     *Env
	machine *retain.Machine
}

func newDiscovery(spec DiscoverySpec) Actor { return &discovery{spec: spec} }

// Start begins the first round.
func (d *discovery) Start(env *Env) {
	d.env = env
	d.machine = retain.NewMachine(retain.Config{
		// Replicas name themselves after their process.
		ID: env.Instance(), Name: d.spec.Pool, Refresh: d.spec.Refresh, Random: env.Rand().Int64N,
	})
	d.step(retain.Due{})
}

// Stop gives the lead up.
func (d *discovery) Stop() {
	d.env.After(discoveryStop, "stop", d.env.Exit)
	d.step(retain.Stopped{})
}

// step lets the machine decide about an event, and carries out what it decides.
func (d *discovery) step(e retain.Event) {
	for _, a := range d.machine.Step(d.env.Now(), e) {
		switch a := a.(type) {
		case retain.Wait:
			d.env.After(a.For, "round", func() { d.step(retain.Due{}) })
		case retain.Done:
			d.env.Exit()
		default:
			if !d.note(a) {
				d.call(a)
			}
		}
	}
}

func (d *discovery) call(a retain.Action) {
	switch a := a.(type) {
	case retain.TakeLead:
		Call(d.env, command.TakeLead(a.Role, a.Holder, a.TTL), func(leads bool, err error) {
			d.step(retain.LeadReply{Leading: leads, Err: err})
		})
	case retain.Lookup:
		d.spec.Lookup(func(p edgepool.Pool, err error) { d.step(retain.LookupReply{Pool: p, Err: err}) })
	case retain.ReadPool:
		Call(d.env, command.Pool(a.Name), func(p edgepool.Pool, err error) { d.step(retain.PoolReply{Pool: p, Err: err}) })
	case retain.Publish:
		request, err := command.PublishPool(a.Name, a.Pool)
		if err != nil {
			d.step(retain.PublishReply{Err: err})
			return
		}
		Call(d.env, request, func(version uint64, err error) { d.step(retain.PublishReply{Version: version, Err: err}) })
	case retain.Hint:
		Call(d.env, command.Publish(a.Topic, nil), func(_ command.Done, err error) { d.step(retain.HintReply{Err: err}) })
	case retain.ReadLeader:
		Call(d.env, command.Leader(a.Role), func(leader string, err error) { d.step(retain.LeaderReply{Leader: leader, Err: err}) })
	case retain.ResignLead:
		Call(d.env, command.ResignLead(a.Role, a.Holder), func(_ command.Done, err error) { d.step(retain.ResignReply{Err: err}) })
	default:
		panic(fmt.Sprintf("discovery: nothing carries out %T", a))
	}
}

// note tells what services/discovery logs, and reports whether a is a fact.
func (d *discovery) note(a retain.Action) bool {
	switch a := a.(type) {
	case retain.LeadChanged:
		d.env.Observe(Fact{Text: "lead changed", Subject: fmt.Sprint(a.Leading)})
	case retain.Published:
		d.env.Observe(Fact{Text: "edge pool published", Subject: fmt.Sprintf("version %d", a.Version)})
	case retain.LookedUp:
		switch {
		case !a.News:
		case a.Err != nil:
			d.env.Observe(Fact{Text: "edge addresses not found, the last pool stays"})
		default:
			d.env.Observe(Fact{Text: "edge addresses found again"})
		}
	case retain.StoreUp:
		if a.Again && !a.Quiet {
			d.env.Observe(Fact{Text: "control plane is available again"})
		}
	case retain.StoreDown:
		if !a.Quiet {
			d.env.Observe(Fact{Text: "control plane is unavailable, nothing is published"})
		}
	case retain.LeadNotResigned:
		d.env.Note("lead not resigned: " + a.Err.Error())
	case retain.Observed, retain.RoundEnded: // what the ops API shows
	default:
		return false
	}
	return true
}

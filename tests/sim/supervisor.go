package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// supervisorStop is how long a supervisor that stops takes to give up the lead, as in services/supervisor.
const supervisorStop = time.Second

// supervisor is the program of a supervisor: the machine of package pass, whose calls go over the simulated network.
type supervisor struct {
	spec    SupervisorSpec
	env     *Env
	machine *pass.Machine
	listed  command.Listed
	// settle lets a test plant a fault: it replaces the time that a machine waits after an outage of the store. Zero replaces nothing.
	settle time.Duration
}

func newSupervisor(spec SupervisorSpec) Actor { return &supervisor{spec: spec} }

// Start begins the first pass, and the ticks.
func (s *supervisor) Start(env *Env) {
	s.env = env
	s.machine = pass.NewMachine(pass.Config{
		ID: env.Instance(), Connections: s.spec.Connections, Random: env.Rand().IntN, Entropy: entropy{env.Rand()},
		Settle: s.settle,
	})
	env.Watch(func() { s.step(pass.Hinted{}) }, pass.Topics()...)
	env.Watch(func() { s.step(pass.Hinted{Pools: true}) }, lease.TopicPools)
	s.tick()
	s.step(pass.Started{})
}

// Stop gives the lead up.
func (s *supervisor) Stop() {
	s.env.After(supervisorStop, "stop", s.env.Exit)
	s.step(pass.Stopped{})
}

func (s *supervisor) tick() {
	s.env.After(s.spec.Tick, "tick", func() {
		s.tick()
		s.step(pass.Ticked{})
	})
}

// step lets the machine decide about an event, and carries out what it decides.
func (s *supervisor) step(e pass.Event) {
	for _, a := range s.machine.Step(s.env.Now(), e) {
		switch a := a.(type) {
		case pass.Rest:
			s.env.After(a.For, "rest", func() { s.step(pass.Rested{}) })
		case pass.Done:
			s.env.Exit()
		default:
			if !s.note(a) && !s.read(a) {
				s.write(a)
			}
		}
	}
}

// read sends the calls that change no slot, and reports whether a is one.
func (s *supervisor) read(a pass.Action) bool {
	switch a := a.(type) {
	case pass.TakeLead:
		s.takeLead(a)
	case pass.ListWorkers:
		Call(s.env, s.listed.Fleet(a.Marks), func(l fleet.Listing, err error) {
			for i := range l.Workers {
				if s.spec.Legacy { // it reads everything all the time
					l.Workers[i].Instance, l.Workers[i].Marks = "", false
				}
			}
			s.step(pass.WorkersReply{Listing: l, Err: err})
		})
	case pass.ReadDesired:
		if s.spec.Legacy {
			s.step(pass.DesiredReply{Same: true})
			return true
		}
		Call(s.env, command.Desired(a.Known), func(r command.Read, err error) {
			s.step(pass.DesiredReply{Same: r.Same, State: r.State, Err: err})
		})
	case pass.ReadPool:
		Call(s.env, command.Pool(a.Name), func(p edgepool.Pool, err error) { s.step(pass.PoolReply{Pool: p, Err: err}) })
	case pass.ReadConnector:
		Call(s.env, command.Connector(a.Tunnel), func(id tunnel.ConnectorID, err error) { s.step(pass.ConnectorReply{ID: id, Err: err}) })
	case pass.EnsureConnector:
		s.ensure(a)
	case pass.ReadSlots:
		Call(s.env, command.SlotsUnder(a.Term, a.Tunnel, a.Connector), func(t lease.Table, err error) {
			for i := range t.Records {
				if s.spec.Legacy {
					t.Records[i].Instance, t.Records[i].Former = "", ""
				}
			}
			s.step(pass.SlotsReply{Records: t.Records, Damaged: t.Damaged, Err: err})
		})
	case pass.ReadProved:
		Call(s.env, command.Proved(a.Tunnel, a.Connector), func(proved bool, err error) {
			s.step(pass.ProvedReply{Proved: proved, Err: err})
		})
	case pass.ResignLead:
		request := command.LeaveShare(a.Role, a.Holder)
		if s.spec.alone() {
			request = command.ResignLead(a.Role, s.env.ID())
		}
		Call(s.env, request, func(_ command.Done, err error) { s.step(pass.ResignReply{Err: err}) })
	default:
		return false
	}
	return true
}

// takeLead takes a share of the lead, or all of it in a version that knows nothing of shares.
func (s *supervisor) takeLead(a pass.TakeLead) {
	if s.spec.alone() {
		Call(s.env, command.TakeTerm(a.Role, s.env.ID(), a.Seen, a.TTL), func(lead lease.Lead, err error) {
			team := lease.Team{Fresh: lead.Holds && lead.Term != lead.Before}
			s.step(pass.LeadReply{Lead: lead, Team: team, Err: err})
		})
		return
	}
	Call(s.env, command.TakeShare(a.Role, a.Holder, a.Seen, a.TTL, a.Join), func(share lease.Share, err error) {
		s.step(pass.LeadReply{Lead: share.Lead, Team: share.Team, Err: err})
	})
}

// ensure is the two calls of redisstore.EnsureConnector.
func (s *supervisor) ensure(a pass.EnsureConnector) {
	Call(s.env, command.OfferConnector(a.Tunnel, a.Candidate), func(_ command.Done, err error) {
		if err != nil {
			s.step(pass.ConnectorReply{Err: err})
			return
		}
		Call(s.env, command.Connector(a.Tunnel), func(id tunnel.ConnectorID, err error) {
			s.step(pass.ConnectorReply{ID: id, Err: err})
		})
	})
}

func (s *supervisor) write(a pass.Action) {
	switch a := a.(type) {
	case pass.Grant:
		request, err := command.GrantUnder(a.Term, a.Grant.Grant, a.Expect, a.TTL, a.Ended...)
		if err != nil {
			s.step(pass.GrantReply{Err: err})
			return
		}
		s.env.Plan(Planned{Slot: a.Slot, Worker: a.Worker, Edge: a.Edge, Cause: string(a.Cause)})
		Call(s.env, request, func(g lease.Grant, err error) { s.step(pass.GrantReply{Granted: g, Err: err}) })
	case pass.Release:
		request := command.ReleaseUnder(a.Term, a.Slot, a.Worker, a.Epoch)
		if s.spec.alone() {
			request = command.Release(a.Slot, a.Worker, a.Epoch)
		}
		Call(s.env, request, func(_ command.Done, err error) {
			s.step(pass.ReleaseReply{Err: err})
		})
	case pass.AskReconnect:
		Call(s.env, command.AskReconnect(a.Term, a.Slot, a.Epoch, a.Command), func(_ command.Done, err error) {
			s.step(pass.ReconnectReply{Err: err})
		})
	case pass.AnswerCommand:
		Call(s.env, command.Answer(a.Command, a.Result), func(_ desired.Status, err error) { s.step(pass.AnswerReply{Err: err}) })
	case pass.RestoreDesired:
		request, err := command.RestoreDesired(a.Tunnel, a.Document)
		s.restore(request, err)
	case pass.RestoreDrained:
		request, err := command.RestoreDrained(a.Worker, a.Mark)
		s.restore(request, err)
	case pass.Notify:
		Call(s.env, command.Notify(a.Worker, a.Tunnels), func(_ command.Done, err error) {
			if err == nil {
				s.env.Hint(lease.GrantsOf(a.Worker))
			}
			s.step(pass.NotifyReply{Err: err})
		})
	case pass.BeginGeneration:
		if s.spec.Legacy {
			s.step(pass.GenerationReply{})
			return
		}
		Call(s.env, command.NewGeneration(), func(_ command.Done, err error) { s.step(pass.GenerationReply{Err: err}) })
	case pass.Hint:
		Call(s.env, command.Publish(a.Topic, nil), func(_ command.Done, err error) { s.step(pass.HintReply{Err: err}) })
	default:
		panic(fmt.Sprintf("supervisor: nothing carries out %T", a))
	}
}

// restore sends a document that the store lost, unless it could not be made.
func (s *supervisor) restore(r command.Request[uint64], err error) {
	if err != nil {
		s.step(pass.RestoreReply{Err: err})
		return
	}
	Call(s.env, r, func(_ uint64, err error) { s.step(pass.RestoreReply{Err: err}) })
}

// note tells what services/supervisor logs, and reports whether a is a fact.
func (s *supervisor) note(a pass.Action) bool {
	switch a := a.(type) {
	case pass.StoreUp:
		if a.Again && !a.Quiet {
			s.env.Observe(Fact{Text: "control plane is available again"})
		}
	case pass.StoreDown:
		if !a.Quiet {
			s.env.Observe(Fact{Text: "control plane is unavailable, nothing is granted"})
		}
	case pass.Trouble:
		if a.First {
			s.env.Observe(Fact{Text: "part of the control plane failed, the rest goes on", Subject: string(a.Kind) + " " + a.Subject})
		}
	case pass.Short:
		s.env.Observe(Fact{
			Text:    "fewer connections than desired: the edge has too few addresses",
			Subject: fmt.Sprintf("%s %d of %d", a.Tunnel, a.Possible, a.Desired),
		})
	case pass.SlotGranted:
		s.env.Observe(Fact{Text: "slot granted", Subject: fmt.Sprintf("%s to %s: %s", a.Slot, a.Worker, a.Cause)})
	case pass.SlotReleased:
		s.env.Observe(Fact{Text: "slot released", Subject: fmt.Sprintf("%s of %s: %s", a.Slot, a.Worker, a.Cause)})
	case pass.PlanOutdated:
		s.env.Note("plan outdated: " + a.Err.Error())
	case pass.LeadNotResigned:
		s.env.Note("lead not resigned: " + a.Err.Error())
	case pass.CommandAnswered:
		s.env.Observe(Fact{Text: "command of an operator was answered", Subject: fmt.Sprintf("%s: %s", a.Command, a.Outcome)})
	case pass.Observed: // what the ops API shows
	default:
		return s.noteLead(a)
	}
	return true
}

// noteLead is note for what is about the lead and the shards.
func (s *supervisor) noteLead(a pass.Action) bool {
	switch a := a.(type) {
	case pass.LeadChanged:
		s.env.Observe(Fact{Text: "lead changed", Subject: fmt.Sprint(a.Leading)})
	case pass.SharesChanged:
		s.env.Note(fmt.Sprintf("%d of %d shards, with %d supervisors", a.Own, shard.Count, a.Members))
	default:
		return false
	}
	return true
}

// entropy gives random bytes of a stream.
type entropy struct{ rand *rand.Rand }

// Read fills b.
func (e entropy) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e.rand.Uint32())
	}
	return len(b), nil
}

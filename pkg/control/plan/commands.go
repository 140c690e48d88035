package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/control/placement"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// commands decides about the operators' commands for one connector. It reports whether one of them changes a slot. While the records may
// be of the past, all wait.
func (p *planner) commands(w World, v *view) (acted bool) {
	if v.unsettled || v.scattered || v.Lost {
		return false
	}
	for _, c := range w.Commands {
		if c.Tunnel != v.Tunnel {
			continue
		}
		switch done, reason := p.command(w, v, c.Command); {
		case reason != "":
			p.answer(c.ID, desired.Refused, reason)
		case done:
			acted = true
		}
	}
	return acted
}

func (p *planner) answer(id string, outcome desired.Outcome, detail string) {
	p.out.Answers = append(p.out.Answers, Answer{Command: id, Result: desired.Result{Outcome: outcome, Detail: detail}})
}

// command decides about one command: it is done, refused with a reason, or waits. One that was carried out by a supervisor which ended
// before it could say so is done.
func (p *planner) command(w World, v *view, c desired.Command) (done bool, refused string) {
	r, found := v.records[c.Index]
	switch {
	case slices.Contains(v.Damaged, c.Index):
		return false, fmt.Sprintf("the record of slot %d cannot be read", c.Index)
	case found && r.Epoch == 0:
		return false, "" // granted in this very plan
	case found && r.Reconnect == c.ID:
		// It is written, and its holder may not know it yet; asked twice, it does it once.
		p.out.Actions = append(p.out.Actions, Reconnect{Slot: r.Slot, Worker: r.Worker, Epoch: r.Epoch, Command: c.ID})
		return true, ""
	case found && r.Command == c.ID:
		p.answer(c.ID, desired.Done, fmt.Sprintf("slot %d has epoch %d at worker %s", c.Index, r.Epoch, r.Worker))
		return false, ""
	}
	return p.carryOut(w, v, r, found, c)
}

// carryOut carries a command out that nobody has carried out before.
func (p *planner) carryOut(w World, v *view, r lease.Record, found bool, c desired.Command) (done bool, refused string) {
	switch {
	case int(c.Index) >= v.Connections:
		return false, fmt.Sprintf("the tunnel shall have %d connections, so there is no slot %d", v.Connections, c.Index)
	case !found:
		return false, fmt.Sprintf("slot %d was never granted", c.Index)
	case r.Epoch != c.Epoch:
		return false, fmt.Sprintf("slot %d has epoch %d by now, the command is for %d", c.Index, r.Epoch, c.Epoch)
	case !r.Live || r.Worker == "":
		return false, fmt.Sprintf("nobody holds slot %d", c.Index)
	case c.Kind == desired.Move:
		return p.move(v, r, c)
	case r.Status.State != lease.StateConnected:
		return false, fmt.Sprintf("the connection of slot %d is not registered: it is %s", c.Index, r.Status.State)
	case w.Rushed[v.Tunnel] || v.onTheWay() > 0:
		return false, "" // no faster than registrations may follow each other
	}
	p.out.Actions = append(p.out.Actions, Reconnect{Slot: r.Slot, Worker: r.Worker, Epoch: r.Epoch, Command: c.ID})
	r.Status.State = lease.StateConnecting
	v.records[c.Index] = r
	return true, ""
}

// move grants a slot to the worker and on the address that the command names; what it does not name is chosen like for any planned move.
func (p *planner) move(v *view, r lease.Record, c desired.Command) (done bool, refused string) {
	if v.full() {
		return false, ""
	}
	to, refused := v.target(r, c.Worker)
	if refused != "" {
		return false, refused
	}
	edge, refused := v.destination(r, to, c.Edge)
	if refused != "" {
		return false, refused
	}
	g := v.grantOf(r, to, edge, CauseCommand)
	g.Command = c.ID
	p.grant(v, r, g)
	return true, ""
}

// target is the worker that gets a slot which an operator moves: the named one, else another one than now, else the present one.
func (v *view) target(r lease.Record, named tunnel.WorkerID) (to tunnel.WorkerID, refused string) {
	candidates := v.candidates()
	if named == "" {
		if other, ok := placement.ChooseOther(candidates, r.Worker); ok {
			return other, ""
		}
		named = r.Worker
	}
	i := slices.IndexFunc(candidates, func(c placement.Candidate) bool { return c.ID == named })
	switch _, registered := v.workers[named]; {
	case !registered:
		return "", fmt.Sprintf("no worker %s is registered", named)
	case i < 0:
		return "", fmt.Sprintf("worker %s does not serve the tunnel", named)
	case candidates[i].Closed:
		return "", fmt.Sprintf("worker %s takes no connections of the tunnel: it drains, or has weight 0", named)
	case named != r.Worker && !candidates[i].HasRoom():
		return "", fmt.Sprintf("worker %s has no room: it holds %d of %d", named, candidates[i].All(), candidates[i].Capacity)
	}
	return named, ""
}

// destination is the address of a slot that an operator moves. It is another one than now, since the old connection stands until the new
// one does.
func (v *view) destination(r lease.Record, to tunnel.WorkerID, named netip.AddrPort) (edge tunnel.EdgeAddr, refused string) {
	if !named.IsValid() {
		edge, ok := v.address(r, to, spare)
		if !ok {
			return edge, "no other edge address is free"
		}
		return edge, ""
	}
	if named == r.InUse().Addr {
		return edge, fmt.Sprintf("the connection is at %s now: a move needs another address", named)
	}
	for i, other := range v.records {
		_, known := v.holder(other)
		if i != r.Slot.Index && other.Worker != "" && (other.Live || known) && (other.InUse().Addr == named || other.Edge.Addr == named) {
			return edge, fmt.Sprintf("slot %d uses %s", i, named)
		}
	}
	addresses := v.pool.Addresses(v.Family)
	i := slices.IndexFunc(addresses, func(e tunnel.EdgeAddr) bool { return e.Addr == named })
	if i < 0 {
		return edge, fmt.Sprintf("the edge pool does not have %s", named)
	}
	return addresses[i], ""
}

package plan

import (
	"github.com/culvert-tunnel/culvert/pkg/control/placement"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// decide looks at one slot and says whether to grant it anew, and to whom.
func (v *view) decide(r lease.Record) (Grant, bool) {
	worker, known := v.holder(r)
	switch {
	case r.Worker == "":
		return v.place(r, CauseFree, anyAddress, nil)
	case v.mayBeServed(r, known):
		return Grant{}, false
	case !known:
		return v.place(r, CauseGone, preferNew, v.suspects.beside(r))
	case !r.Live && worker.Draining:
		return v.place(r, CauseExpired, preferNew, []tunnel.WorkerID{r.Worker})
	case !r.Live:
		// The worker lives but could not renew; it keeps the session on this address, so the slot is safest with it.
		return v.again(r)
	case v.scattered:
		return Grant{}, false
	case worker.Draining || worker.Capacity == 0:
		return v.relieve(r, CauseDraining)
	case v.weight(worker) == 0:
		return v.relieve(r, CauseWeight)
	}
	return v.mend(r)
}

// mayBeServed reports whether an absence is no reason to move the slot yet; known says that its worker is registered.
func (v *view) mayBeServed(r lease.Record, known bool) bool {
	switch {
	case v.unsettled && (!known || !r.Live):
		return true
	case known:
		return false
	case r.Live:
		return v.unlisted || v.scattered
	default:
		return v.scattered && v.full()
	}
}

// again grants an expired slot to the worker that had it, on the same address.
func (v *view) again(r lease.Record) (Grant, bool) {
	edge, ok := v.address(r, r.Worker, anyAddress)
	if !ok {
		return Grant{}, false
	}
	return v.grantOf(r, r.Worker, edge, CauseExpired), true
}

// relieve moves a slot away from a worker that drains, that knows no proxy and so has no capacity, or that shall have none. The new
// connection is made before the old one ends: only if there is another worker and another address. Otherwise the worker ends the session
// by itself, and the slot becomes free. Moves of connected slots come no faster than the registration bucket lets them through.
func (v *view) relieve(r lease.Record, cause Cause) (Grant, bool) {
	if r.Status.State == lease.StateConnected && v.full() {
		return Grant{}, false
	}
	to, ok := placement.ChooseOther(v.candidates(), r.Worker)
	if !ok && cause == CauseDraining {
		// The session ends soon anyway: a worker that could not reach the edge a while ago is better than none.
		to, ok = placement.Choose(v.candidates(), r.Worker)
	}
	if !ok || to == r.Worker {
		return Grant{}, false
	}
	choice := spare
	if r.Status.State != lease.StateConnected {
		choice = preferNew
	}
	edge, ok := v.address(r, to, choice)
	if !ok {
		return Grant{}, false
	}
	return v.grantOf(r, to, edge, cause), true
}

// mend helps a slot whose worker lives, but which failed. What the worker mends by itself, such as a session that the
// edge closed, or a wait that the edge asked for, is left to it.
func (v *view) mend(r lease.Record) (Grant, bool) {
	s := r.Status
	if s.State == lease.StateDraining {
		return v.place(r, CauseFree, preferNew, nil)
	}
	if s.State != lease.StateFailed {
		return Grant{}, false
	}
	switch s.Reason {
	case tunnel.ReasonDial, tunnel.ReasonBlocked, tunnel.ReasonTLS:
		if _, other := placement.ChooseOther(v.candidates(), r.Worker); s.Retries >= moveAfter || other && v.doubtful(v.workers[r.Worker]) {
			return v.place(r, CauseWorker, preferNew, []tunnel.WorkerID{r.Worker})
		}
		return v.elsewhere(r)
	case tunnel.ReasonClosed:
		if s.Retries > 0 { // before, the holder tries one address after the other by itself
			return v.elsewhere(r)
		}
	case tunnel.ReasonIdle, tunnel.ReasonDuplicate:
		return v.elsewhere(r)
	case tunnel.ReasonRPC:
		if s.Retries >= moveAfter {
			return v.elsewhere(r)
		}
	case tunnel.ReasonPeerClosed, tunnel.ReasonInternal:
		return v.ended(r)
	case tunnel.ReasonNone, tunnel.ReasonRefused, tunnel.ReasonDrained, tunnel.ReasonForced, tunnel.ReasonFenced:
	}
	return Grant{}, false
}

// ended helps a slot whose session or attempt was ended by the edge, or by a fault of the worker.
func (v *view) ended(r lease.Record) (Grant, bool) {
	s := r.Status
	if s.Reason == tunnel.ReasonPeerClosed && s.Retries == 1 {
		return v.elsewhere(r) // the edge may be on its way out, and this address with it
	}
	if to, ok := placement.ChooseOther(v.candidates(), r.Worker); ok && s.Retries >= leaveAfter {
		edge, ok := v.address(r, to, preferNew)
		return v.grantOf(r, to, edge, CauseWorker), ok
	}
	return Grant{}, false
}

// elsewhere grants the slot to the same worker on another address; without one the worker's own retries go on.
func (v *view) elsewhere(r lease.Record) (Grant, bool) {
	edge, ok := v.address(r, r.Worker, spare)
	if !ok {
		return Grant{}, false
	}
	return v.grantOf(r, r.Worker, edge, CauseAddress), true
}

// place grants the slot to the best worker, which is one of avoid only if there is no other.
func (v *view) place(r lease.Record, cause Cause, c choice, avoid []tunnel.WorkerID) (Grant, bool) {
	to, ok := placement.Choose(v.candidates(), avoid...)
	if !ok {
		return Grant{}, false
	}
	edge, ok := v.address(r, to, c)
	if !ok {
		return Grant{}, false
	}
	if to == r.Worker && r.Live && edge == r.InUse() {
		return Grant{}, false // nothing would change
	}
	return v.grantOf(r, to, edge, cause), true
}

func (v *view) grantOf(r lease.Record, to tunnel.WorkerID, edge tunnel.EdgeAddr, cause Cause) Grant {
	past, wait := v.inherited(r, cause)
	return Grant{
		Grant: lease.Grant{
			Slot: r.Slot, Worker: to, Instance: v.workers[to].Instance, Edge: edge, Protocol: v.Protocol, Past: past, Wait: wait,
		},
		Expect: r.Epoch,
		Cause:  cause,
	}
}

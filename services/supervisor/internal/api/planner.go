package api

import (
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Tell tells what the planner of this supervisor did, as far as it is an event.
func (a *API) Tell(action pass.Action) {
	slot := func(kind string, s tunnel.Slot, worker tunnel.WorkerID, cause string) opsapi.Event {
		return opsapi.Event{Kind: kind, Tunnel: &s.Tunnel, Index: &s.Index, Worker: string(worker), Cause: cause}
	}
	switch d := action.(type) {
	case pass.SlotGranted:
		e := slot(opsapi.EventGranted, d.Slot, d.Worker, string(d.Cause))
		e.Epoch, e.Edge = d.Granted.Epoch, d.Edge.String()
		a.Emit(e)
	case pass.SlotReleased:
		a.Emit(slot(opsapi.EventReleased, d.Slot, d.Worker, string(d.Cause)))
	case pass.LeadChanged:
		detail := "plans no more"
		if d.Leading {
			detail = "plans now"
		}
		a.Emit(opsapi.Event{Kind: opsapi.EventLead, Detail: detail})
	case pass.CommandAnswered:
		a.Emit(opsapi.Event{Kind: opsapi.EventAnswered, Detail: fmt.Sprintf("command %s: %s %s", d.Command, d.Outcome, d.Detail)})
	}
}

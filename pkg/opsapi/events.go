package opsapi

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The kinds of events.
const (
	EventGranted       = "slot.granted"
	EventReleased      = "slot.released"
	EventLead          = "lead.changed"
	EventAnswered      = "command.answered"
	EventWorkerJoined  = "worker.joined"
	EventWorkerLeft    = "worker.left"
	EventWorkerDrains  = "worker.draining"
	EventProxyJoined   = "proxy.joined"
	EventProxyLeft     = "proxy.left"
	EventProxyDrains   = "proxy.draining"
	EventDesired       = "desired.changed"
	EventMarked        = "worker.drain"
	EventConfiguration = "configuration.changed"
	EventDropped       = "events.dropped"
	// EventGap is in a stream alone: events before the next one are not kept any more.
	EventGap = "events.gap"
)

// Event is something that happened in the deployment.
type Event struct {
	ID         string            `json:"id,omitempty" doc:"id of the event; grows. A stream goes on after it (Last-Event-ID)"`
	Time       time.Time         `json:"time" doc:"when it happened"`
	Kind       string            `json:"kind" doc:"slot.granted, slot.released, lead.changed, worker.joined and so on"`
	Supervisor string            `json:"supervisor_id,omitempty" doc:"supervisor that tells it"`
	Tunnel     *tunnel.ID        `json:"tunnel_id,omitempty" doc:"id of the tunnel"`
	Index      *tunnel.ConnIndex `json:"conn_index,omitempty" doc:"connection index"`
	Epoch      tunnel.Epoch      `json:"epoch,omitempty" doc:"epoch of the slot's new lease"`
	Worker     string            `json:"worker_id,omitempty" doc:"worker that it is about"`
	Proxy      string            `json:"proxy_id,omitempty" doc:"proxy that it is about"`
	Edge       string            `json:"edge_addr,omitempty" doc:"edge address of the slot"`
	Cause      string            `json:"cause,omitempty" doc:"why the lease moved"`
	Version    uint64            `json:"version,omitempty" doc:"version of the document that changed"`
	Who        string            `json:"who,omitempty" doc:"who changed it"`
	Detail     string            `json:"detail,omitempty" doc:"more of it, for people"`
}

// Events is a page of events, the newest first.
type Events struct {
	Items []Event `json:"items" doc:"events, the newest first"`
	Page
}

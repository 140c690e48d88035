package lease

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Grant is the right to hold a slot: the worker, the epoch, the edge address and the protocol.
type Grant struct {
	Slot   tunnel.Slot     `json:"slot"`
	Worker tunnel.WorkerID `json:"worker_id"`
	// Instance is the worker's process; empty for one that keeps no lease as a whole.
	Instance string          `json:"instance,omitempty"`
	Epoch    tunnel.Epoch    `json:"epoch"`
	Edge     tunnel.EdgeAddr `json:"edge"`
	// Protocol is the one that the operator requires; empty lets the holder choose.
	Protocol tunnel.Protocol `json:"protocol,omitempty"`
	// Wait is how long from now the holder must wait before it dials, as of the moment the record was read: the
	// stagger and the backoff, computed with the store's clock. Zero or negative means at once.
	Wait time.Duration `json:"-"`
	// Above is the highest epoch of the slot that the caller has seen: the new one is above it even if the store lost it. In a stored
	// record it is zero.
	Above tunnel.Epoch `json:"-"`
	// Command is the operator's command that the grant carries out, or empty.
	Command string `json:"-"`
	// Past is what the new holder inherits of the former ones. In a stored record it is part of the status.
	Past Past `json:"-"`
}

// Past is what the holders of a slot went through since a session of it was steady. It goes from one to the next.
type Past struct {
	// Short counts the sessions in a row that ended before they were steady.
	Short int `json:"short,omitempty"`
	// Deaths counts the processes in a row that ended without a drain while they held the slot.
	Deaths int `json:"deaths,omitempty"`
}

// State is what the holder of a slot last reported.
type State string

// The states of a slot's holder.
const (
	StateFree       State = ""           // nobody holds the slot
	StateGranted    State = "granted"    // granted, nothing reported yet
	StateConnecting State = "connecting" // waiting, dialling or registering
	StateConnected  State = "connected"  // registered with the edge
	StateFailed     State = "failed"     // the last attempt failed; Reason says how; the holder retries by itself
	StateRefused    State = "refused"    // refused for good, such as a wrong secret; retried slowly
	StateDraining   State = "draining"   // no new flows; running ones finish
)

// Status is what the holder of a slot reports with every renewal.
type Status struct {
	State    State  `json:"state"`
	Location string `json:"location,omitempty"`
	// Edge is the address in use when the holder had to choose one by itself; zero means the granted one.
	Edge tunnel.EdgeAddr `json:"edge,omitzero"`
	// Protocol is the transport in use, or of the last attempt.
	Protocol tunnel.Protocol `json:"protocol,omitempty"`
	// Prefers is the transport that the holder of a connected slot would use for a new attempt, when it is another one: a
	// move to another address brings it there without a gap.
	Prefers tunnel.Protocol `json:"prefers,omitempty"`
	// Retries counts failed attempts since the last success.
	Retries int           `json:"retries,omitempty"`
	Reason  tunnel.Reason `json:"reason,omitempty"`
	// RetryAfter is the wait that the edge requested together with ReasonRefused.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// Error is the text of the cause, for the operator.
	Error string `json:"error,omitempty"`
	// InFlight is the number of flows on the connection.
	InFlight int `json:"in_flight,omitempty"`
	Past
}

// Record is the stored state of a slot.
type Record struct {
	Grant
	Status Status `json:"status"`
	// Live says that the lease has not expired by the store's clock. A record that is not live keeps its epoch. Whether the process of a
	// record with an Instance still runs is not part of the record.
	Live bool `json:"live"`
	// Former is the worker that held the slot before, if it has to be told that it does not any more.
	Former tunnel.WorkerID `json:"-"`
	// Reconnect is the operator's command that asks the holder of this epoch to make its connection again, or empty.
	Reconnect string `json:"-"`
	// Claimed says that the store lost the grant and got the slot back by a report.
	Claimed bool `json:"-"`
	// Age is how long ago the holder renewed last, by the store's clock.
	Age time.Duration `json:"-"`
}

// InUse is the edge address that the slot's holder really uses: the granted one, unless it had to choose another.
func (r *Record) InUse() tunnel.EdgeAddr {
	if !r.Status.Edge.IsZero() {
		return r.Status.Edge
	}
	return r.Edge
}

// Report is one slot's line in a worker's renewal. It carries the whole grant, so that a store that lost it gets it back.
type Report struct {
	Index tunnel.ConnIndex
	Epoch tunnel.Epoch
	// Edge and Protocol are the grant's. A report without an address renews a lease and cannot claim one.
	Edge     tunnel.EdgeAddr
	Protocol tunnel.Protocol
	Status   Status
	// Away is how much longer the edge wants no attempt for the slot; zero if it did not say.
	Away time.Duration
}

// Ended is a slot whose worker's lease has ended: under this epoch it is not live any more.
type Ended struct {
	Index tunnel.ConnIndex
	Epoch tunnel.Epoch
}

// Table is what the store has of a connector's slots.
type Table struct {
	// Records are the slots that can be read, by index.
	Records []Record
	// Damaged are those that cannot.
	Damaged []Damaged
	// Claimed counts the slots that the reports of a renewal gave back to a store that had lost their grants.
	Claimed int
}

// Damaged is a slot whose stored record cannot be read. The other slots of the connector are not affected.
type Damaged struct {
	// Index is the slot; Field is set instead if the field belongs to no slot.
	Index tunnel.ConnIndex
	Field string
	// Epoch is the stored one, 0 if it cannot be read either.
	Epoch tunnel.Epoch
	// Reason says what is wrong.
	Reason string
}

// String describes the damage for the log.
func (d Damaged) String() string {
	if d.Field != "" {
		return fmt.Sprintf("field %q: %s", d.Field, d.Reason)
	}
	return fmt.Sprintf("slot %d: %s", d.Index, d.Reason)
}

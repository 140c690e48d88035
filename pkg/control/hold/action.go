package hold

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// Note says what the machine made of an event, for the log. It comes before the actions that follow from the event.
type Note struct {
	Event lease.Event
	// Before is the phase before the event; View is the state after it.
	Before lease.Phase
	View   View
	// Attempt is the one in use when the event came, zero when there was none. Protocol is that of the last attempt so far.
	Attempt  Attempt
	Protocol tunnel.Protocol
}

// Edge is the address that the event was about: the one in use, or else the one of the next attempt.
func (n Note) Edge() tunnel.EdgeAddr {
	if !n.Attempt.Edge.IsZero() {
		return n.Attempt.Edge
	}
	return n.View.Edge
}

// Dial opens a session. Its result is Dialed.
type Dial struct {
	Attempt Attempt
	// Beside is the protocol of a second dial, which begins After the first one if that has no result by then; empty for none
	// (protocol.Try).
	Beside tunnel.Protocol
	After  time.Duration
	// Demanded is what Host.Protocol was asked with. The second dial waits as long as its response is held.
	Demanded tunnel.Protocol
}

// Register registers the connection on the session of the attempt. Its result is Registered.
type Register struct {
	Attempt Attempt
	lease.Register
}

// Serve accepts streams on the session of the attempt. Its result is Ended.
type Serve struct{ Attempt Attempt }

// Upload sends the local configuration to the edge. It has no result.
type Upload struct{ Attempt Attempt }

// Unregister tells the edge to send no more requests on the connection. It has no result; Drain waits for it.
type Unregister struct{ Attempt Attempt }

// Drain waits until the last flow of the session has ended, at most Within. Its result is Drained.
type Drain struct {
	Attempt Attempt
	Within  time.Duration
}

// Close ends everything that the attempt opened or is about to open. It has no result. It may come again for an attempt that was
// closed before, when a late result of it arrives.
type Close struct {
	Attempt Attempt
	Reason  tunnel.Reason
}

// Wake asks for Timer after After. It replaces an earlier Wake.
type Wake struct{ After time.Duration }

// Report makes the keeper report the holder's status soon.
type Report struct{}

// Announce logs once that the edge refuses these credentials permanently.
type Announce struct{ Err error }

func (Note) action()       {}
func (Dial) action()       {}
func (Register) action()   {}
func (Serve) action()      {}
func (Upload) action()     {}
func (Unregister) action() {}
func (Drain) action()      {}
func (Close) action()      {}
func (Wake) action()       {}
func (Report) action()     {}
func (Announce) action()   {}

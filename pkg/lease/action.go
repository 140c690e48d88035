package lease

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// Dial opens a session to Edge. Its result is EventDialed or EventDialFailed.
type Dial struct {
	Edge tunnel.EdgeAddr
	// Protocol is the grant's; empty leaves the choice to the runner.
	Protocol tunnel.Protocol
}

// Register registers the connection on the session. Its result is EventRegistered or the event of RegisterFailure.
type Register struct {
	Epoch tunnel.Epoch
	// PreviousAttempts counts failed attempts since the last success, for the edge.
	PreviousAttempts uint8
}

// StartServing accepts streams and watches the session. The end of the session is the event of Loss.
type StartServing struct{}

// Wake schedules EventTimer after After. It replaces an earlier Wake.
type Wake struct{ After time.Duration }

// Rotate chooses an address other than Avoid, from the pool that the holder knows. Its result is EventRotated.
type Rotate struct{ Avoid tunnel.EdgeAddr }

// Unregister tells the edge to send no more requests on the connection.
type Unregister struct{}

// CloseAfterDrain waits until the last flow has ended, at most Within. Its result is EventDrained.
type CloseAfterDrain struct{ Within time.Duration }

// Close ends everything that is open or in progress. It has no result.
type Close struct{ Reason tunnel.Reason }

// ReportStatus writes the machine's status to the store soon.
type ReportStatus struct{}

// Announce logs once that the edge refuses these credentials permanently.
type Announce struct{ Err error }

func (Dial) action()            {}
func (Register) action()        {}
func (StartServing) action()    {}
func (Wake) action()            {}
func (Rotate) action()          {}
func (Unregister) action()      {}
func (CloseAfterDrain) action() {}
func (Close) action()           {}
func (ReportStatus) action()    {}
func (Announce) action()        {}

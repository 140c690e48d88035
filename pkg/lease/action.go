package lease

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Action is something that the runner of a Machine does. The set is closed.
type Action interface{ action() }

// Dial asks for a session to Edge. It is answered by EventDialed or EventDialFailed.
type Dial struct {
	Edge tunnel.EdgeAddr
	// Protocol is the grant's; empty leaves the choice to the runner.
	Protocol tunnel.Protocol
}

// Register asks for the registration on the session. It is answered by EventRegistered or by RegisterFailure.
type Register struct {
	Epoch tunnel.Epoch
	// PreviousAttempts counts failed attempts since the last success, for the edge.
	PreviousAttempts uint8
}

// StartServing asks to accept streams and to watch the session; its end is Loss.
type StartServing struct{}

// Wake asks for EventTimer after After; it replaces an earlier Wake.
type Wake struct{ After time.Duration }

// Rotate asks for another address than Avoid, from what the holder knows by itself. It is answered by EventRotated.
type Rotate struct{ Avoid tunnel.EdgeAddr }

// Unregister asks to tell the edge that it must send no more.
type Unregister struct{}

// CloseAfterDrain asks for EventDrained when the last flow has ended, and no later than after Within.
type CloseAfterDrain struct{ Within time.Duration }

// Close asks to end everything that is open or under way. It has no answer.
type Close struct{ Reason tunnel.Reason }

// ReportStatus asks to tell the store the machine's status soon.
type ReportStatus struct{}

// Announce asks to tell the operator, once, that the edge refuses these credentials for good.
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

package hold

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Attempt is one attempt to connect. Its number distinguishes it from all others of its holder; the zero Attempt is none.
type Attempt struct {
	Number   uint64
	Edge     tunnel.EdgeAddr
	Protocol tunnel.Protocol
}

// Event is something that happened to a holder. The set is closed.
type Event interface{ event() }

// Sent is an event from the keeper of the tunnel or from an operator: a grant, a newer epoch, a release, a drain, a reconnect.
type Sent struct{ lease.Event }

// Timer says that the time of the last Wake has come.
type Timer struct{}

// Dialed is the result of Dial.
type Dialed struct {
	Attempt Attempt
	Err     error
	// Beside is the protocol of the session if it came from the second dial, and empty otherwise.
	Beside tunnel.Protocol
}

// Registered is the result of Register.
type Registered struct {
	Attempt Attempt
	Err     error
	// Location is the site that the edge named.
	Location string
	// RemotelyManaged says that the edge keeps the tunnel's configuration.
	RemotelyManaged bool
}

// Ended says that the session of Serve ended, and with what cause.
type Ended struct {
	Attempt Attempt
	Err     error
}

// Drained is the result of Drain.
type Drained struct{ Attempt Attempt }

// Abandoned says that the process ends at once: everything is closed, nothing is unregistered.
type Abandoned struct{}

// Renamed says that the connector has another id now. Attempts to come use it.
type Renamed struct{ Connector tunnel.ConnectorID }

// Looked says that the network changed: a wait after a failure ends after the delay.
type Looked struct{ Delay time.Duration }

func (Looked) event()     {}
func (Sent) event()       {}
func (Timer) event()      {}
func (Dialed) event()     {}
func (Registered) event() {}
func (Ended) event()      {}
func (Drained) event()    {}
func (Abandoned) event()  {}
func (Renamed) event()    {}

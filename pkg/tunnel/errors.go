package tunnel

import (
	"errors"
	"fmt"
	"time"
)

// Sentinel errors that cross package borders. Compare with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")
	ErrFenced      = errors.New("fenced: a newer epoch exists")
	ErrNoAddress   = errors.New("no edge address")
	ErrDraining    = errors.New("draining")
	ErrUnavailable = errors.New("unavailable")
)

// Reason says why a connection attempt or a connection ended. Policy uses the reason, never an error's text
// (docs/spec/lifecycle.md 4.2).
type Reason string

// Every reason there is.
const (
	ReasonNone       Reason = ""
	ReasonDial       Reason = "dial"        // the address did not respond, or the local network refused
	ReasonClosed     Reason = "closed"      // nothing listens at the address any more: the port is closed
	ReasonBlocked    Reason = "blocked"     // the local system forbids the transport ("operation not permitted")
	ReasonTLS        Reason = "tls"         // the handshake was refused or the certificate is not valid
	ReasonDuplicate  Reason = "duplicate"   // EDUPCONN: this edge address already holds the slot
	ReasonRefused    Reason = "refused"     // registration refused; Retryable and RetryAfter say more
	ReasonRPC        Reason = "rpc"         // registration neither accepted nor refused: time-out, broken stream
	ReasonIdle       Reason = "idle"        // an established connection went silent
	ReasonPeerClosed Reason = "peer_closed" // the edge closed the connection; Code says how
	ReasonDrained    Reason = "drained"     // our own drain ended it
	ReasonForced     Reason = "forced"      // an operator asked for a reconnect
	ReasonFenced     Reason = "fenced"      // a newer epoch of the slot was seen
	ReasonInternal   Reason = "internal"    // a defect or a local failure such as no file descriptors
)

// ConnError is the typed error of everything that dials, registers or keeps a connection.
type ConnError struct {
	Reason Reason
	// Retryable and RetryAfter are meaningful with ReasonRefused (docs/spec/wire.md 8.2).
	Retryable  bool
	RetryAfter time.Duration
	// Code is the application close code with ReasonPeerClosed.
	Code uint64
	Err  error
}

// Error names the reason and the cause.
func (e *ConnError) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Err)
}

// Unwrap gives the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// ReasonOf finds the reason in err's chain; an error without one is ReasonInternal, nil is ReasonNone.
func ReasonOf(err error) Reason {
	if err == nil {
		return ReasonNone
	}
	var ce *ConnError
	if errors.As(err, &ce) {
		return ce.Reason
	}
	return ReasonInternal
}

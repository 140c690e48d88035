package lease

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// EventKind says what happened to a slot's holder.
type EventKind uint8

// Every kind of event.
const (
	EventGranted    EventKind = iota // the store granted the slot to this holder, with a newer epoch
	EventTimer                       // the time of the last Wake has come
	EventDialed                      // the session is open
	EventDialFailed                  // the address did not respond, or refused the handshake
	EventRegistered                  // the edge accepted the registration
	EventDuplicate                   // the edge address already holds the slot
	EventRefused                     // the edge refused for now; a later attempt may succeed
	EventRejected                    // the edge refused for good
	EventBroken                      // the registration was neither accepted nor refused
	EventLost                        // the session ended
	EventSilent                      // the session went silent
	EventRotated                     // the result of Rotate
	EventNewer                       // a newer epoch of the slot was seen at another holder
	EventReleased                    // the slot is no longer wanted
	EventDrain                       // the holder must give up the slot
	EventDrained                     // the last flow ended, or the time for it is over
	EventReconnect                   // an operator asked that the session be broken and made again
	eventKinds
)

//nolint:gochecknoglobals // a table that nothing changes
var eventNames = [eventKinds]string{
	"granted", "timer", "dialed", "dial_failed", "registered", "duplicate", "refused", "rejected", "broken", "lost",
	"silent", "rotated", "newer", "released", "drain", "drained", "reconnect",
}

// String is the name used in messages and transcripts.
func (k EventKind) String() string {
	if k < eventKinds {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is one thing that happened, with the data that its kind needs.
type Event struct {
	Kind EventKind
	// Grant belongs to EventGranted, and so does Retries: the failures in a row that former holders of the slot had, so
	// that a new one does not start its backoff from zero (docs/spec/lifecycle.md 14.4).
	Grant   Grant
	Retries int
	// Past is what the holder inherits, with EventGranted.
	Past Past
	// Err is the cause of a failure or a loss.
	Err error
	// RetryAfter is the wait that the edge requested, with EventRefused.
	RetryAfter time.Duration
	// Delay is the time between the end of the session and the next dial, with EventReconnect.
	Delay time.Duration
	// Edge is the new address, with EventRotated; zero when there is no other.
	Edge tunnel.EdgeAddr
	// Location is the site that the edge named, with EventRegistered.
	Location string
	// Newer is the record with the newer epoch, with EventNewer.
	Newer Record
	// SkipBackoff starts the next attempt at once, with EventDialFailed: it uses another protocol, to which the failures of the
	// former one do not apply.
	SkipBackoff bool
	// StoreDown says that the store is unavailable, so that no new grant can arrive; with every failure and loss.
	StoreDown bool
}

// DialFailure is the event for a dial that ended with err.
func DialFailure(err error, storeDown bool) Event {
	return Event{Kind: EventDialFailed, Err: err, StoreDown: storeDown}
}

// RegisterFailure is the event for a registration that ended with err.
func RegisterFailure(err error, storeDown bool) Event {
	e := Event{Kind: EventBroken, Err: err, StoreDown: storeDown}
	var ce *tunnel.ConnError
	if !errors.As(err, &ce) {
		return e
	}
	switch {
	case ce.Reason == tunnel.ReasonDuplicate:
		e.Kind = EventDuplicate
	case ce.Reason == tunnel.ReasonRefused && ce.Retryable:
		e.Kind, e.RetryAfter = EventRefused, ce.RetryAfter
	case ce.Reason == tunnel.ReasonRefused:
		e.Kind = EventRejected
	}
	return e
}

// Loss is the event for a registered session that ended with err.
func Loss(err error, storeDown bool) Event {
	e := Event{Kind: EventLost, Err: err, StoreDown: storeDown}
	switch tunnel.ReasonOf(err) { //nolint:exhaustive // the others leave the address to another attempt
	case tunnel.ReasonIdle, tunnel.ReasonClosed:
		e.Kind = EventSilent
	}
	return e
}

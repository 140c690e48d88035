package lease

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Term numbers the leads of a role: it grows with every change of the holder, and whenever the store lost data. It is the fencing token
// of a leader, as an epoch is that of a slot's holder. Zero is none.
type Term uint64

// Lead is what the store says of the lead of a role.
type Lead struct {
	// Holds says that the caller leads.
	Holds bool
	// Term is the one in force, Before the one that was stored when the caller asked; they differ if the caller began a new one.
	Term, Before Term
	// Clock is the server's time since the epoch of Unix. Only its steps mean something: it is compared with no other clock.
	Clock time.Duration
	// Until is when the lead ended, by the same clock, before the caller asked; zero if that is not known.
	Until time.Duration
}

// OvertakenError says that a leader with a newer term has read the connector; it is a tunnel.ErrFenced.
type OvertakenError struct{ Term Term }

// Error is the text for people.
func (e *OvertakenError) Error() string {
	return fmt.Sprintf("%v: a leader with term %d", tunnel.ErrFenced, e.Term)
}

// Unwrap makes the error a tunnel.ErrFenced.
func (e *OvertakenError) Unwrap() error { return tunnel.ErrFenced }

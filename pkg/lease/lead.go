package lease

import (
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Term numbers the leads of a role: it grows with every change of those that lead, and whenever the store lost data. It is the fencing
// token of a leader, as an epoch is that of a slot's holder. Zero is none.
type Term uint64

// Lead is what the store says of the lead of a role.
type Lead struct {
	// Holds says that the caller leads.
	Holds bool
	// Term is the one in force, of several that lead the caller's own. Before is the highest one that was stored when the caller asked.
	Term, Before Term
	// Clock is the server's time since the epoch of Unix. Only its steps mean something: it is compared with no other clock.
	Clock time.Duration
	// Until is when the lead ended, by the same clock, before the caller asked; zero if that is not known.
	Until time.Duration
}

// Team is who leads a role together. Each member has a term of its own.
type Team struct {
	// Members are their names, in order; the caller's is among them if it leads. Without a name the caller, if it leads, does so alone.
	Members []string
	// View grows with each change of the members.
	View uint64
	// Fresh says that the caller was no member before, or not any more: its lease had ended.
	Fresh bool
}

// Share is a lead that members have together.
type Share struct {
	Lead
	Team
}

// OvertakenError says that a leader with a newer term has read the connector; it is a tunnel.ErrFenced.
type OvertakenError struct{ Term Term }

// Error is the text for people.
func (e *OvertakenError) Error() string {
	return fmt.Sprintf("%v: a leader with term %d", tunnel.ErrFenced, e.Term)
}

// Unwrap makes the error a tunnel.ErrFenced.
func (e *OvertakenError) Unwrap() error { return tunnel.ErrFenced }

package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Renewal is one renewal of the lease of a worker's process.
type Renewal struct {
	// Worker is its record. Full sends it; without it only its id and instance matter.
	Worker Worker
	Full   bool
	// Inbox is the version of the inbox that was read last.
	Inbox uint64
	// Replaces is the instance of a process with the same id that has ended for certain: its lease is not waited for.
	Replaces string
	// Number counts the renewals of the process; Confirmed is the last one that the store confirmed.
	Number, Confirmed uint64
}

// Renewed is what the store says to a renewal.
type Renewed struct {
	// Taken says that another process has the id. Nothing was renewed.
	Taken *Taken
	// Unknown says that the store does not have the worker's record. Nothing was renewed.
	Unknown bool
	// New says that the store knew no lease of this process, Lapsed that the lease had run out.
	New, Lapsed bool
	// Generation changes when the store lost data.
	Generation uint64
	// Inbox is the version of the worker's inbox. Tunnels lists the tunnels whose slots changed since the version that the worker sent.
	Inbox   uint64
	Tunnels []tunnel.ID
}

// Taken is a process that has the id of another one.
type Taken struct {
	// By is its record, empty if that cannot be read.
	By Worker
	// Until is when its lease ends, by the server's clock. It is compared with itself alone: when it moves, the process lives.
	Until time.Duration
}

// TakenError says that a worker's id belongs to another process that lives; it is a tunnel.ErrConflict.
type TakenError struct {
	ID tunnel.WorkerID
	By Worker
}

// Error is the text for people.
func (e *TakenError) Error() string {
	var facts []string
	if e.By.Host != "" {
		facts = append(facts, "host "+e.By.Host)
	}
	if e.By.PID != 0 {
		facts = append(facts, fmt.Sprintf("pid %d", e.By.PID))
	}
	if !e.By.Started.IsZero() {
		facts = append(facts, "started "+e.By.Started.UTC().Format(time.RFC3339))
	}
	text := fmt.Sprintf("worker id %q belongs to another process that runs", e.ID)
	if len(facts) > 0 {
		text += " (" + strings.Join(facts, ", ") + ")"
	}
	return text + ": give each worker an id of its own, or leave the setting empty"
}

// Unwrap makes the error a tunnel.ErrConflict.
func (e *TakenError) Unwrap() error { return tunnel.ErrConflict }

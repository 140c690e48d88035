package desired

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Kind is what a command asks for.
type Kind string

// The kinds of commands.
const (
	// Reconnect asks the holder of a slot to end its connection and to make it again.
	Reconnect Kind = "reconnect"
	// Move asks for a new connection of the slot elsewhere, which is made before the old one ends.
	Move Kind = "move"
)

// The times of commands.
const (
	DefaultTTL = 30 * time.Second
	MinTTL     = time.Second
	MaxTTL     = 10 * time.Minute
	// KeepResult is how long the result of a command is kept after its expiry.
	KeepResult = 10 * time.Minute
)

// The limits on commands that wait, so that none can fill the store.
const (
	MaxPending       = 1024 // of the deployment
	MaxPendingTunnel = 64   // of one tunnel
)

// ErrFull says that too many commands wait.
var ErrFull = errors.New("too many commands wait or have been sent lately")

var commandID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Command is one order of an operator for one slot. It is carried out at most once, under the epoch that it names.
type Command struct {
	// ID names the command: the same id is the same command, however often it is sent.
	ID     string           `json:"id"`
	Kind   Kind             `json:"kind"`
	Tunnel tunnel.ID        `json:"tunnel_id"`
	Index  tunnel.ConnIndex `json:"conn_index"`
	// Epoch is the one that the operator saw: a command about another one is refused.
	Epoch tunnel.Epoch `json:"epoch"`
	// Worker and Edge say where a move goes; without them the supervisor chooses.
	Worker tunnel.WorkerID `json:"worker_id,omitempty"`
	Edge   netip.AddrPort  `json:"edge_addr,omitzero"`
	Author string          `json:"author,omitempty"`
}

// ParseCommand reads the JSON of a command strictly.
func ParseCommand(b []byte) (Command, error) {
	var c Command
	if err := strict(b, &c); err != nil {
		return Command{}, fmt.Errorf("command: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Command{}, fmt.Errorf("command: %w", err)
	}
	return c, nil
}

// Validate reports every problem of a command.
func (c Command) Validate() error {
	var errs []error
	if !commandID.MatchString(c.ID) {
		errs = append(errs, fmt.Errorf("id: %q is not 1 to 64 letters, digits, dots, dashes and underscores", c.ID))
	}
	switch {
	case c.Kind != Reconnect && c.Kind != Move:
		errs = append(errs, fmt.Errorf("kind: %q is none of reconnect, move", c.Kind))
	case c.Kind == Reconnect && (c.Worker != "" || c.Edge.IsValid()):
		errs = append(errs, errors.New("a reconnect names no worker_id and no edge_addr: that is a move"))
	}
	if c.Tunnel.IsZero() {
		errs = append(errs, errors.New("tunnel_id: is missing"))
	}
	if c.Epoch == 0 {
		errs = append(errs, errors.New("epoch: is missing"))
	}
	return errors.Join(append(errs, name("worker_id", string(c.Worker)), CheckAuthor(c.Author))...)
}

// CheckTTL checks the time within which a command has to be carried out.
func CheckTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return fmt.Errorf("ttl: %v is not between %v and %v", ttl, MinTTL, MaxTTL)
	}
	return nil
}

// Outcome is what became of a command.
type Outcome string

// The outcomes.
const (
	Pending Outcome = "pending" // no supervisor has decided yet
	Done    Outcome = "done"    // carried out
	Refused Outcome = "refused" // not carried out; the detail says why
	Expired Outcome = "expired" // not carried out in time
)

// Result is the outcome of a command, and in words what was done or why not.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
}

// Status is a command with its result.
type Status struct {
	Command
	Result
	// Remaining is how long a pending command may still be carried out.
	Remaining time.Duration `json:"-"`
}

// DecodeCommand reads a stored command. Fields that a newer version of this program added are ignored.
func DecodeCommand(text []byte) (Command, error) {
	var c Command
	if err := json.Unmarshal(text, &c); err != nil {
		return Command{}, fmt.Errorf("stored command: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Command{}, fmt.Errorf("stored command: %w", err)
	}
	return c, nil
}

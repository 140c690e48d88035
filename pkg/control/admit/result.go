package admit

import (
	"errors"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Result is the decision about a registration; its text is the label in metrics and logs.
type Result string

// The results.
const (
	Accepted     Result = "accepted"
	Unauthorized Result = "unauthorized" // unknown tunnel or wrong secret
	Malformed    Result = "malformed"
	Limited      Result = "limited" // too many sessions, of all or of the tunnel
	Duplicate    Result = "duplicate"
	Fenced       Result = "fenced"
	Repeated     Result = "repeated"  // the session is registered already
	Exhausted    Result = "exhausted" // too many attempts on one session
)

const (
	// MaxAttempts bounds the guesses on one session.
	MaxAttempts = 3
	// FencedRetry is how long a connector with an old epoch has to wait. A newer one that died is gone by then.
	FencedRetry = 5 * time.Second
	// LimitedRetry is how long a connector has to wait whose tunnel has all its sessions.
	LimitedRetry = 30 * time.Second
)

// Refusal is what the connector is told; nil if it was accepted. The cause replaces the text that the result has by itself; it may be nil.
func (r Result) Refusal(cause error) error {
	if r == Accepted {
		return nil
	}
	if cause == nil {
		cause = r.cause()
	}
	refusal := &tunnel.ConnError{Reason: tunnel.ReasonRefused, Err: cause}
	switch r {
	case Limited:
		refusal.Retryable, refusal.RetryAfter = true, LimitedRetry
	case Fenced:
		refusal.Retryable, refusal.RetryAfter = true, FencedRetry
	case Duplicate:
		refusal.Reason = tunnel.ReasonDuplicate
	default: // refused for good
	}
	return refusal
}

func (r Result) cause() error {
	text := "refused"
	switch r {
	case Unauthorized:
		text = "Unauthorized: Invalid tunnel secret or unknown tunnel" // stock connectors look for its first word (docs/spec/wire.md 8.2)
	case Malformed:
		text = "malformed connection options"
	case Limited:
		text = "too many sessions"
	case Duplicate:
		return ErrDuplicate
	case Fenced:
		return tunnel.ErrFenced
	case Repeated:
		text = "this session is registered already"
	case Exhausted:
		text = "too many attempts on one session"
	default:
	}
	return errors.New(text)
}

// ResultOf is the result that an error of Slot stands for.
func ResultOf(err error) Result {
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, ErrDuplicate):
		return Duplicate
	case errors.Is(err, tunnel.ErrFenced):
		return Fenced
	default:
		return Malformed
	}
}

package desired

import (
	"errors"
	"fmt"
	"time"
)

// Change is a request to change the document of a tunnel.
type Change struct {
	// Version is the one that the change was made from; 0 for a tunnel that has no document.
	Version *uint64 `json:"version"`
	Author  string  `json:"author,omitempty"`
	Spec    Spec    `json:"spec"`
}

// ParseChange reads the JSON of a change strictly.
func ParseChange(b []byte) (Change, error) {
	var c Change
	if err := strict(b, &c); err != nil {
		return Change{}, fmt.Errorf("change: %w", err)
	}
	var missing error
	if c.Version == nil {
		missing = errors.New("version: is missing; 0 stands for a tunnel without a document")
	}
	if err := errors.Join(missing, CheckAuthor(c.Author), c.Spec.Validate()); err != nil {
		return Change{}, fmt.Errorf("change: %w", err)
	}
	return c, nil
}

// MarkChange is a request to drain a worker, or to end that.
type MarkChange struct {
	Drained *bool  `json:"drained"`
	Author  string `json:"author,omitempty"`
}

// ParseMarkChange reads the JSON of a MarkChange strictly.
func ParseMarkChange(b []byte) (MarkChange, error) {
	var m MarkChange
	if err := strict(b, &m); err != nil {
		return MarkChange{}, fmt.Errorf("drain: %w", err)
	}
	var missing error
	if m.Drained == nil {
		missing = errors.New("drained: is missing")
	}
	if err := errors.Join(missing, CheckAuthor(m.Author)); err != nil {
		return MarkChange{}, fmt.Errorf("drain: %w", err)
	}
	return m, nil
}

// Submission is a request to carry out a command.
type Submission struct {
	Command
	// TTL is how long the command may wait, such as 30s; empty is DefaultTTL.
	TTL string `json:"ttl,omitempty"`
}

// ParseSubmission reads the JSON of a submission strictly.
func ParseSubmission(b []byte) (c Command, ttl time.Duration, err error) {
	var s Submission
	if err := strict(b, &s); err != nil {
		return Command{}, 0, fmt.Errorf("command: %w", err)
	}
	ttl = DefaultTTL
	if s.TTL != "" {
		if ttl, err = time.ParseDuration(s.TTL); err != nil {
			return Command{}, 0, fmt.Errorf("command: ttl: %q is not a duration such as 30s", s.TTL)
		}
	}
	if err := errors.Join(s.Validate(), CheckTTL(ttl)); err != nil {
		return Command{}, 0, fmt.Errorf("command: %w", err)
	}
	return s.Command, ttl, nil
}

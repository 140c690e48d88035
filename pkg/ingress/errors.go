package ingress

import (
	"errors"
	"fmt"
)

// Faults that callers tell apart.
var (
	// ErrNoIngress says that a document has no ingress list, which is no fault when flags may supply an origin.
	ErrNoIngress = errors.New("The config file doesn't contain any ingress rules") //nolint:staticcheck // the reference's text
	// ErrNoRules says that neither a document nor a flag defines an origin; Default503 serves then.
	//nolint:staticcheck // the reference's text
	ErrNoRules = errors.New(
		"No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests",
	)
	// ErrURLConflict is for the validate command, when --url comes with a document that has rules.
	//nolint:staticcheck // the reference's text
	ErrURLConflict = errors.New("You can't set the --url flag (or $TUNNEL_URL) when using multiple-origin ingress rules")
)

//nolint:staticcheck // the reference's texts
var (
	errLastRule    = errors.New("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)")
	errBadWildcard = errors.New(
		`Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains, e.g. "*.example.com"`,
	)
	errHostnamePort = errors.New("Hostname cannot contain a port")
	errAccessTeam   = errors.New("access.TeamName cannot be blank when access.audTags are present")
	errUnixAlone    = errors.New("--unix-socket must be used exclusively.")
)

// RuleError is what is wrong with a rule. Its text is the one operators search for, which often does not tell the rule; Where
// does.
type RuleError struct {
	Rule     int // from 0
	Hostname string
	Err      error
}

// Error is the reference's text.
func (e *RuleError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *RuleError) Unwrap() error { return e.Err }

// Where names the rule, counting from 1 as the texts do.
func (e *RuleError) Where() string {
	if e.Hostname == "" {
		return fmt.Sprintf("rule #%d", e.Rule+1)
	}
	return fmt.Sprintf("rule #%d (hostname %s)", e.Rule+1, e.Hostname)
}

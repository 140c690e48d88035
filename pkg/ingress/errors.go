package ingress

import "errors"

// Faults that callers tell apart.
var (
	// ErrNoIngress says that a document has no ingress list, which is no fault when flags may supply one.
	ErrNoIngress = errors.New("The config file doesn't contain any ingress rules") //nolint:revive,staticcheck // the text is the reference's
	// ErrNoRules says that neither a document nor a flag defines an origin; Default503 serves then.
	ErrNoRules = errors.New("No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests") //nolint:revive,staticcheck // the text is the reference's
)

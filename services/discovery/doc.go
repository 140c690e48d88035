// Package discovery finds the addresses of the edge and publishes them as versioned edge pools: from SRV and address
// records, with DNS over TLS to fall back to, or from a static list (docs/spec/lifecycle.md 6; docs/spec/wire.md 2).
//
// Any number of replicas may run; one has the lead and publishes, the others stand by. A failure of
// DNS never ends the process and never replaces a good pool: the last one stays until there is a better one.
//
// A Service is safe for concurrent use; Run owns all of its goroutines.
package discovery

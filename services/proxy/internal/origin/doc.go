// Package origin makes the origins of ingress rules: for each service a value that can do exactly one of a few things, an
// HTTP exchange over the network, a fixed status, or a local response (docs/spec/ingress.md 6, 7.2).
//
// An Origin owns its connection pool. The goroutines of a pool belong to its connections and end with them; Close ends the
// idle ones at once. It decides nothing about headers and bodies, which package flow does. All methods are safe for
// concurrent use.
package origin

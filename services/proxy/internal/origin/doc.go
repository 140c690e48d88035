// Package origin is what an ingress rule leads to: for each service a value that can do exactly one of a few things, an
// HTTP exchange over the network, a fixed status, a local response, or a byte stream (docs/spec/ingress.md 6). Package opener makes
// them.
//
// An Origin owns its connection pool; Close ends the idle connections at once. It decides nothing about headers and bodies, which
// package flow does. All methods are safe for concurrent use.
package origin

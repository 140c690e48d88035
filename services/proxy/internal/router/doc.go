// Package router holds the live ingress table: an immutable snapshot of rules and their origins behind one atomic pointer,
// so that a request takes no lock and keeps the snapshot it began with.
//
// Swap is all or nothing, reuses the origins of unchanged services with their pools, and closes the idle connections of
// those that fell out (docs/spec/ingress.md 12.3, D23). It owns no goroutine; all methods are safe for concurrent use.
package router

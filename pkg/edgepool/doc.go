// Package edgepool holds the addresses of the edge as plain data and decides which connection index uses which one:
// regions, sticky use, give-back, exclusion and family choice (docs/spec/lifecycle.md 6, with its D lines).
//
// Everything is a pure function of its arguments: no clock, no network, no goroutine.
package edgepool

// Package registry is the table of registered connections: which sessions serve a tunnel, which of two for one slot is
// the current one (docs/spec/lifecycle.md 14.3, 14.4), and how many requests each has in flight.
//
// It closes no session and starts no goroutine: the server of a session waits for Retired and closes it. A Table is safe
// for concurrent use.
package registry

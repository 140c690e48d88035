// Package registry is the table of registered connections: which sessions serve a tunnel, which of two for one slot is
// the current one (docs/spec/lifecycle.md 14.3, 14.4), how many requests each has in flight, and which ones are in doubt.
//
// It closes no session and starts no goroutine: the server of a session waits for Retired and closes it, and Watch.Run checks for
// signs of life in the goroutine of its caller. A Table is safe for concurrent use.
package registry

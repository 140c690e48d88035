// Package lease is the lease of a slot: the records that the store keeps, and the state machine of the holder, from a
// grant to a connection and to its end (docs/spec/lifecycle.md 14; docs/design.md section 3).
//
// Pure: time is an argument, actions are values, nothing is read or written. A thin runner in the worker executes them.
package lease

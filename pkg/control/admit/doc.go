// Package admit is the edge's rule for registrations: whether a session may register for a slot, which registered sessions it replaces,
// what a connector is told that is refused, and what its options say (docs/spec/lifecycle.md 14.1, 14.3; docs/adr/0005).
//
// Pure functions of their arguments.
package admit

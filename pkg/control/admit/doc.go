// Package admit is the edge's rule for registrations: whether a session may register for a slot, which registered sessions it replaces,
// which response a refused connector gets, and what the options of a registration say (docs/spec/lifecycle.md 14.1, 14.3; docs/adr/0005).
//
// Pure functions of their arguments.
package admit

// Package protocol chooses the transport of a connection and the features it offers: the selection from flag, token and
// published percentages, the per-slot fallback machine, and the feature list (docs/spec/lifecycle.md 4.5, 5, 7; docs/spec/wire.md
// 12, 14, with the differences that selection.go and machine.go name).
//
// Pure: time is an argument, nothing is read or written. All values are plain data.
package protocol

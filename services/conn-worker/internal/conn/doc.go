// Package conn holds one slot: it runs the machine of the holder (package hold), executes the actions that the machine
// decides on, and serves the session of the slot.
//
// Run owns the holder's goroutines and waits for them. Send, Reconnect and Snapshot are safe for concurrent use.
package conn

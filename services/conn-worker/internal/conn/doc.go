// Package conn holds one slot: it runs the lease machine of the slot, executes its actions, and serves the session that
// comes of them. What to do is the machine's decision (package lease); this package only does it.
//
// Run owns the holder's goroutines and waits for them. Send, Snapshot and Epoch may be called by anybody at any time.
package conn

// Package hold is the holder of one slot as a state machine. Around lease.Machine, which knows one connection, it keeps the attempts
// apart: which one a result belongs to, what becomes of a result that arrives after its attempt was given up, and when a session is
// closed, drained and unregistered.
//
// Pure: time is an argument, actions are values. The worker's holder (services/conn-worker) executes them with goroutines.
package hold

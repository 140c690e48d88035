// Package memstore is a store for simulations: it executes the commands of pkg/redisstore/command, and the very scripts that a
// Redis gets, in memory and in the caller's goroutine, with a clock that the caller sets. It knows the Redis commands that
// those use and fails loudly for any other.
//
// Everything is deterministic: the same commands at the same times give the same replies. Where Redis leaves an order open, it
// is defined here: HGETALL gives fields in the order in which they were first written, as a small hash of a Redis does.
//
// It also fails as a Redis does: it may lose its last writes and continue with another clock (Failover), go back to a former
// state (Restore), lose everything (Flush), and refuse commands (SetMode).
//
// That it behaves like a Redis is shown by the differential test in this package, which compares it with a Redis and with
// miniredis. A Store and its Interpreter belong to one goroutine.
package memstore

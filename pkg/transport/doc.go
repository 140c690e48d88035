// Package transport defines what a session to the edge is, whatever carries it: many bidirectional streams, each with
// half-close and reset, and unreliable datagrams. Adapters live below it (quic, h2, mem); the contract that all of
// them pass is transporttest.
//
// It owns no goroutine. All types of an adapter are safe for concurrent use, with the usual restriction that a stream
// has at most one reader and one writer at a time.
package transport

// Package rpc implements the Cap'n Proto RPC of the control stream and of RPC streams (docs/spec/wire.md 7, 8 and 10).
// Connectors call registration, and report the end of a UDP session. Edges call configuration updates, and register UDP
// sessions of datagram v2.
//
// It reads and writes a byte stream that the caller has opened; a stream signature, where there is one, was already
// consumed or written. It neither dials nor logs, and leaves the reaction to a refusal to its caller.
//
// A client owns the goroutines of its connection until Close returns; a Serve function owns its own until it returns.
// Both close the stream. Clients are safe for concurrent use; handlers are called concurrently.
package rpc

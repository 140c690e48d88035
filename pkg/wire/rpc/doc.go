// Package rpc speaks the Cap'n Proto RPC of the control stream and of RPC streams (docs/spec/wire.md 7 and 8): registration
// by the connector, configuration updates and UDP sessions of datagram v2 (10) by the edge, whose ends the connector tells.
//
// It reads and writes a byte stream that the caller has opened; a stream signature, where there is one, was already
// consumed or written. It neither dials nor logs, and it does not decide what a refusal means.
//
// A client owns the goroutines of its connection until Close returns; a Serve function owns its own until it returns.
// Both close the stream. Clients are safe for concurrent use; handlers are called concurrently.
package rpc

// Package transport defines a session between connector and edge independently of the protocol that carries it: many
// bidirectional streams with half-close and reset, and unreliable datagrams. The adapters are packages quic, h2 and mem; all
// of them pass the contract in package transporttest.
//
// It owns no goroutine. All types of an adapter are safe for concurrent use, with the usual restriction that a stream
// has at most one reader and one writer at a time.
package transport

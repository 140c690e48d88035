// Package connector accepts connectors over QUIC and HTTP/2 and keeps their sessions. The first stream of a session is the
// control stream, on which the connector registers (docs/spec/wire.md 5.1, 8). Registered sessions are in the registry, where
// the public side finds them.
//
// A peer that has not registered may hold little: handshakes and unregistered sessions are bounded in total and per network of
// addresses, and under pressure the oldest of them is evicted. Registered sessions are bounded per tunnel.
//
// New binds the sockets, of both protocols on one port. Run owns all goroutines: one per listener and a few per session, beside
// those of the transports. Whatever a peer sends ends no other session than its own.
package connector

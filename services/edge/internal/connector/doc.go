// Package connector accepts connectors over QUIC and HTTP/2 and keeps their sessions: the first stream of a session is the control
// stream, on which the connector registers (docs/spec/wire.md 5.1, 8); a session without a registration is dropped after a
// time. Registered sessions live in the registry, where the public side finds them.
//
// New binds the sockets, of both protocols on one port; Run owns all goroutines: one per listener, and two per session,
// beside those of the transports. Nothing that a peer sends
// ends more than its own session.
package connector

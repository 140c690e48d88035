// Package ports serves the public ports of the edge. A visitor's TCP connection becomes one stream of a connection of the
// port's tunnel: of type TCP when the port leads to an address of the private network, or a WebSocket to an ingress rule,
// which carries the bytes in binary messages. A source of datagrams gets an association, which Deps.Associate opens; replies
// come from the address that it sent to.
//
// A visitor sees what it would see without the tunnel. The end of either direction passes on as FIN while the other one goes
// on. Every other end (a reset, a lost connector, an expired limit) is a TCP reset, so that truncated bytes never look
// complete. A connector that would end the response with the request (docs/spec/wire.md 5.5) gets FIN only after the
// response was silent for a while.
//
// None of the visitor's bytes are sent before the connector has accepted, so that another connection can be tried (package
// dispatch). New binds the ports of the catalog. Run owns all goroutines, and retries ports that could not be bound. Set is
// safe for concurrent use.
package ports

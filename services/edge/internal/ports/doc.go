// Package ports serves the public ports of the edge. A visitor's TCP connection becomes one stream of a connection of the
// port's tunnel: of type TCP when the port goes to an address of the private network, or a websocket to an ingress rule,
// which carries the bytes in binary messages. A source of datagrams becomes an association that Deps.Associate opens; it is
// answered from the address that it asked.
//
// What a visitor sees is what it would see without the tunnel: the end of either direction passes on as FIN while the
// other goes on, and every other end (a reset, a lost connector, an expired limit) as RST, so that what is cut short never
// looks whole. A connector that would cut the answer when it is told the end of the request (docs/spec/wire.md 5.5) is told so
// only after the answer has been silent for a while.
//
// Until the connector has accepted, nothing of the visitor's is sent, so that another connection may be tried. New binds
// the ports of the catalog; a port that cannot be bound is tried again by Run, which owns all goroutines. Set is safe for
// concurrent use.
package ports

// Package udp opens UDP flows through the tunnels and sends pings, over the datagrams of connections (docs/spec/wire.md 10, 11).
//
// A Flow goes from this edge to one address of a tunnel's private network. It has a random id, by which the connector
// knows it, and belongs to one connection at a time. When that connection ends, is taken back or replaced, or stays silent
// although it is spoken to, the flow is registered under its id on another connection: of the same connector first, where
// that keeps the socket at the origin, of any of the tunnel otherwise. One that does not answer soon is not waited for: the
// next is asked besides. Meanwhile a bounded number of payloads is kept, also of those that were sent since shortly before
// the last sign of life. Answers are taken from any connection of the tunnel.
//
// Version 3 registers by datagram, again until it is answered; a payload travels with the registration where the
// connector is known to deliver it, and is held back until the answer otherwise, since stock connectors lose it. Version
// 2 registers by RPC. HTTP/2 connections carry no datagrams and are passed over.
//
// A ping is an echo request in a datagram of its own; what comes back is told by its id and sequence number.
//
// Manager.Run looks after idle flows and silent connections, Serve receives for one connection and ends with it; flows
// have a goroutine only while they look for a connection. Everything is safe for concurrent use.
package udp

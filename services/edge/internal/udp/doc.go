// Package udp opens UDP flows through the tunnels and sends pings, over the datagrams of connections (docs/spec/wire.md 10, 11).
//
// A Flow goes from this edge to one address of a tunnel's private network. The connector knows it by a random id, and it belongs
// to one connection at a time. When that connection ends, is retired or replaced, or stays silent although datagrams were sent to
// it, the flow registers the same id on another connection: of the same connector first, because that keeps the origin's socket,
// then any connection of the tunnel. If a connection does not respond within hedgeAfter, the next one is tried at the same time.
// Until then a bounded number of payloads is kept for retransmission, including those sent shortly before the last sign of life.
// Datagrams of the origin are accepted from any connection of the tunnel.
//
// Version 3 registers by datagram, repeated until a response arrives. The first payload travels with the registration if the
// connector is known to deliver it; otherwise it waits for the response, since stock connectors lose it. Version 2 registers by
// RPC. HTTP/2 connections carry no datagrams and are not used.
//
// A ping is an ICMP echo request in a datagram of its own; its reply is matched by id and sequence number.
//
// Flows.Run checks for idle flows and silent connections. Flows.Serve receives for one connection until that ends. A flow has a
// goroutine only while it looks for a connection. All types are safe for concurrent use.
package udp

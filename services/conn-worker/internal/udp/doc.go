// Package udp passes the datagrams of edge sessions on to proxies, where the sockets of UDP sessions and of ICMP are. It
// knows the two datagram versions (docs/spec/wire.md 10, 11) and translates between them and the messages of the link
// (package packet); the proxy does not know which version an edge speaks.
//
// A Session belongs to one session to the edge. It keeps the registration of each UDP session, to register it again, and one
// flow to each proxy that has one of them. The proxy of a session is chosen by its id, so that every worker of the connector
// comes to the same one: that is how a session survives its worker. A flow that breaks is opened again, to the same proxy if
// that is alive, else to another one; the edge does not notice.
//
// Nothing waits for a proxy: what does not fit a flow's queue is dropped and counted. Towards the edge the transport
// sets the pace, and the proxy drops. The number of sessions per connection, and with it all memory, is bounded.
//
// Serve owns all goroutines: it receives, each flow has one, and one removes unused flows and sessions. All types are safe
// for concurrent use.
package udp

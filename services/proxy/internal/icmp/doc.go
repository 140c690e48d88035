// Package icmp sends the pings of private networks from this host (docs/spec/wire.md 10, docs/spec/ingress.md 9.4). What comes from
// an edge is a whole IP packet with an echo request, and what goes back is one: the reply, or the error that a router or
// the destination sent. With a time to live of 1 it does not leave this host, and the response is ours.
//
// On Linux each flow (source, destination, echo id) has an unprivileged ping socket, whose id stands for the flow's own on
// the network; the time to live is the packet's less one. The system may forbid such sockets; then one log line names the
// command that allows them. On other systems packets are dropped.
//
// A Router owns one goroutine per flow; a flow ends 10 s after its last packet. Close waits for all of them. All methods
// are safe for concurrent use.
package icmp

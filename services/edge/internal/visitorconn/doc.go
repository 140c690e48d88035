// Package visitorconn accepts the connections of visitors: it listens, admits connections within limits, reads the header of
// the PROXY protocol, makes the TLS handshake and puts a guard before HTTP/1. A net/http server serves the prepared
// connections.
//
// A connection passes, in this order: its place among all connections and in the share of its address, the header of the
// PROXY protocol where it comes from a trusted proxy, the TLS handshake, and the guard (package h1guard) unless TLS agreed
// on HTTP/2. Slow steps run beside each other, each bounded in time.
//
// A Gate is safe for concurrent use. Listeners own the goroutines that prepare connections; their Run waits for them.
package visitorconn

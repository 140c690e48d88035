// Package mux is HTTP/2 (RFC 9113) as the tunnel needs it: one connection, either role, whose streams are two-way byte
// streams with a head before them and perhaps trailers behind. Framing and header compression are golang.org/x/net's;
// streams, windows and limits are its own, for three reasons that docs/adr/0012 explains: a server's direction can end
// while the other one goes on, nothing is translated to net/http and back, and what it does cannot change with the
// toolchain.
//
// It knows nothing of tunnels: what heads mean is package h2's business.
//
// A Conn owns three goroutines: one reads, one writes, one pings; Close ends them and waits. The reader never writes to
// the network, so two ends that both have much to send cannot block each other. All types are safe for concurrent use; a
// stream has at most one reader and one writer at a time. Locks: Stream.rmu is never held while Conn.mu is taken.
package mux

// Package mux is the part of HTTP/2 (RFC 9113) that the tunnel needs: one connection in either role, whose streams are
// bidirectional byte streams with a header before them and perhaps trailers behind. Framing and header compression are
// those of golang.org/x/net. Streams, windows and limits are its own for three reasons (docs/adr/0012): one direction of a
// server's stream can end while the other one goes on, nothing is translated to net/http and back, and the behaviour does
// not change with the toolchain.
//
// It does not know tunnels: packages h2 and h2head give headers their meaning.
//
// A Conn owns three goroutines: one reads, one writes, one sends pings. Close ends them and waits. The reader never writes
// to the network, so two ends with full send buffers cannot block each other. All types are safe for concurrent use; a
// stream has at most one reader and one writer at a time.
//
// Locks: Conn.mu before Stream.rmu, never the other way round (docs/adr/0016).
package mux

// Package h2 carries edge sessions over HTTP/2 (docs/spec/wire.md 3 and 9). The connector dials and is the HTTP/2 server, the
// edge accepts and is the client; no ALPN is needed. What is above sees the streams of package transport, byte for byte
// as QUIC carries them: prologue, ConnectRequest and body one way, prologue, ConnectResponse and body the other. The
// package turns these into HTTP/2 heads, DATA and trailers and back, so that nobody else knows the transport.
//
// What HTTP/2 cannot do, compared with QUIC:
//
//   - There are no datagrams (transport.ErrDatagramUnsupported).
//   - Only the edge opens streams. The connector's first OpenStream is the control stream, which the edge has opened;
//     there is no second one.
//   - A reset ends both directions. CancelWrite of either end, and CancelRead of the edge, reset the stream; CancelRead
//     of the connector throws away what comes, and tells the edge once the answer has ended.
//
// Bodies with trailers are frames in the stream form (docs/extensions.md) and HTTP/2 trailers on the wire.
//
// HTTP/2 itself is in internal/mux. A Session owns the goroutines of its connection and, at the connector's end, one per
// configuration that is being applied; CloseWithError waits for all of them. A Listener owns one goroutine, and one per
// handshake. All types are safe for concurrent use; a stream has at most one reader and one writer at a time.
package h2

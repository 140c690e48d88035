// Package h2 carries edge sessions over HTTP/2 (docs/spec/wire.md 3 and 9). The connector dials and is the HTTP/2 server; the
// edge accepts and is the client. No ALPN is needed. Callers see the streams of package transport with the same bytes that
// QUIC carries: prologue, ConnectRequest and body one way, prologue, ConnectResponse and body the other. The package turns
// these into the headers, DATA and trailers of HTTP/2 and back (package h2head), so that no other code depends on the
// transport.
//
// Differences from QUIC:
//
//   - There are no datagrams (transport.ErrDatagramUnsupported).
//   - Only the edge opens streams. The connector's first OpenStream gives the control stream, which the edge has opened;
//     later calls wait for the end of the session.
//   - A reset ends both directions. CancelWrite at either end, and CancelRead at the edge's end, reset the stream. CancelRead
//     at the connector's end drops what arrives, and the edge learns of it when the response has ended.
//
// Bodies with trailers are frames in the stream form (docs/extensions.md) and HTTP/2 trailers on the wire.
//
// HTTP/2 itself is in internal/mux. A Session owns the goroutines of its connection and, at the connector's end, one for each
// configuration that is being applied; CloseWithError waits for all of them. A Listener owns one goroutine, and one for each
// handshake. All types are safe for concurrent use; a stream has at most one reader and one writer at a time.
package h2

// Package quic carries edge sessions over QUIC (docs/spec/wire.md 3 and 4). It is the only package that knows quic-go, which
// it imports as quicgo; the library's types and errors never leave it.
//
// Dial owns one UDP socket per session and closes it right after the session: the caller may bind the same port again
// as soon as CloseWithError has returned. The library gets the socket itself and not a wrapper, with which it could neither
// use segmentation offload nor reply from the address that a packet was sent to (docs/spec/lifecycle.md 13).
//
// The package starts no goroutine of its own; those of the library end with the session or the listener. All types are
// safe for concurrent use; a stream has at most one reader and one writer at a time.
package quic

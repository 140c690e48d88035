// Package stream is the codec of the first bytes of an edge-opened stream: the six-byte signature that tells its kind,
// the two-byte version, and the ConnectRequest or ConnectResponse message (docs/spec/wire.md 5.2 to 5.4).
//
// Flow of a data stream: the edge sends signature, version and ConnectRequest, then body bytes to FIN. The connector
// answers signature, version and ConnectResponse, then body bytes to FIN. An RPC stream carries its own signature and
// no version; what follows it belongs to package rpc.
//
//	signature  6 bytes   0A 36 CD 12 A1 3E data, 52 BB 82 5C DB 65 RPC
//	version    2 bytes   "01"; written by both sides, its value is ignored by readers
//	message              one unpacked Cap'n Proto message in stream framing:
//	                     segment count - 1 (4), segment sizes in words (4 each), padding to 8, segments
//
// Between two ends of ours a body may be framed, so that trailers find a place behind it, and interim answers may precede
// the final one. docs/extensions.md says how that is agreed; here are its metadata keys and its frames:
//
//	type     1 byte   0 data, 1 trailers
//	length   3 bytes  big endian, of the payload
//	payload           data: bytes of the body; any number of frames, of any length
//	                  trailers: at most one, last before FIN, at most MaxTrailers bytes:
//	                  name length (2), name, value length (2), value, repeated
//
// The codec works straight on bytes. It writes one segment; it reads any number of segments up to MaxSegments, with
// single and double far pointers, lists of any element layout that the protocol's evolution rules allow, and structs
// that are larger or smaller than ours. Every bound is checked before it is used, and the total size that a message may
// make the reader visit is limited, so a hostile peer can cost neither memory nor time beyond the bytes it sent.
//
// A parser that returns ErrShort needs more bytes than it was given: append what the stream delivers next and parse
// again from the start. The package reads from no connection, owns no goroutine and keeps no state but a Deframer's; a
// Request, a Response or a Deframer is not safe for concurrent use.
package stream

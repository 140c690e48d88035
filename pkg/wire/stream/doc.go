// Package stream is the codec of the first bytes of a stream that an edge opens: the six-byte signature for its kind, the
// two-byte version, and the ConnectRequest or ConnectResponse message (docs/spec/wire.md 5.2 to 5.4).
//
// Flow of a data stream: the edge sends signature, version and ConnectRequest, then body bytes to FIN. The connector
// responds with signature, version and ConnectResponse, then body bytes to FIN. An RPC stream has a signature of its own and
// no version; package rpc reads what follows.
//
//	signature  6 bytes   0A 36 CD 12 A1 3E data, 52 BB 82 5C DB 65 RPC
//	version    2 bytes   "01"; written by both sides, its value is ignored by readers
//	message              one unpacked Cap'n Proto message in stream framing:
//	                     segment count - 1 (4), segment sizes in words (4 each), padding to 8, segments
//
// Between two ends of Culvert a body may be framed, so that trailers can follow it, and interim responses may precede the
// final one. docs/extensions.md describes the negotiation; here are its metadata keys and its frames:
//
//	type     1 byte   0 data, 1 trailers
//	length   3 bytes  big endian, of the payload
//	payload           data: bytes of the body; any number of frames, of any length
//	                  trailers: at most one, last before FIN, at most MaxTrailers bytes:
//	                  name length (2), name, value length (2), value, repeated
//
// The codec works straight on bytes. It writes one segment; it reads any number of segments up to MaxSegments, with
// single and double far pointers, lists of any element layout that the protocol's evolution rules allow, and structs
// that are larger or smaller than ours. Every bound is checked before it is used, and the total size that the pointers of
// a message may refer to is limited, so a hostile peer cannot cost memory or time out of proportion to the bytes that it sends.
//
// A parser that returns ErrShort needs more bytes than it was given: append what the stream delivers next and parse
// again from the start. The package reads from no connection, owns no goroutine and keeps no state but a Deframer's; a
// Request, a Response or a Deframer is not safe for concurrent use.
package stream

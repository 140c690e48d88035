// Package frame is the codec of the link between worker and proxy (docs/spec/datapath.md 3): pure functions over bytes,
// no I/O, no clock.
//
// Both ends send HELLO first, the proxy without waiting. Then the worker sends, per flow, OPEN and DATA frames, the
// last one with FIN; the proxy responds with DATA frames, the last one with FIN. RESET aborts a flow, STOP
// requests that the peer sends no more bytes of it, GOAWAY that the peer opens no more flows.
//
// Every frame is a header of 8 bytes and a payload of at most 65535, big-endian:
//
//	 0        1        2                 4                                  8
//	+--------+--------+-----------------+----------------------------------+
//	| type   | flags  | length u16      | stream id u32 (0 = connection)   |
//	+--------+--------+-----------------+----------------------------------+
//
// Payloads:
//
//	HELLO   version u8, mode u8, max frame u16, initial credit u32, features u64 (bit 0: checks repeats), instance id (the rest, <= 64 bytes)
//	OPEN    entries of type u8, length u16, value; unknown types are skipped:
//	        1 kind u8, 2 tunnel id (16), 3 connector id (16), 4 connection index u8, 7 repeat u8 (sent only if it is 1)
//	DATA    stream bytes; flag 0x01 = FIN
//	RESET   code u32
//	STOP    code u32
//	CREDIT  bytes u32 (shared mode only)
//	PING    8 opaque bytes
//	PONG    the same 8 bytes
//	GOAWAY  last stream id that is still served u32, reason u32
//
// In exclusive mode a connection carries one flow at a time, so the last stream id of a GOAWAY covers the one OPEN
// that may cross it. An unknown frame type is an error of the connection. Longer payloads than listed are accepted
// and their tails ignored, so that a later version can add fields.
package frame

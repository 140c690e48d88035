// Package websocket is the codec of websocket frames (RFC 6455), for both ends of a connection.
//
// A frame, all numbers big-endian:
//
//	u8   FIN (0x80), three reserved bits (0x70), opcode (0x0f)
//	u8   MASK (0x80), length (0x7f); 126: a u16 follows, 127: a u64 follows
//	[4]  masking key, when MASK is set; clients always mask, servers never do
//	...  payload, XORed with the key
//
// Opcodes: 0 continuation, 1 text, 2 binary, 8 close (u16 code and text), 9 ping, 10 pong. A message is one data frame and
// its continuations, the last with FIN. Control frames carry at most 125 bytes, are never fragmented, and may stand between
// the fragments of a message.
//
// Decoder parses the bytes of one direction as they arrive. Messages may have any size; only the payload of a control frame
// is buffered. Extensions are not supported, so a reserved bit is a protocol error. The package does no I/O and starts no
// goroutine; a Decoder belongs to one goroutine.
package websocket

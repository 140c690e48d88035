// Package datagram is the codec of the datagrams between edge and connector, in both versions, and of the tracing
// identity that some of them carry (docs/spec/wire.md 5.7, 10, 11).
//
// Version 2 puts its fields behind the payload; the type is the last byte:
//
//	0 UDP            payload, session id (16), 00
//	1 IP             IP packet, 01
//	2 IP and trace   IP packet, tracing identity (25), 02
//	3 spans          OTLP protobuf, tracing identity (25), 03; connector to edge only
//
// Sessions of version 2 are registered and ended by RPC. Version 3 has the type first and registers sessions by
// datagram. All integers are big-endian:
//
//	0 registration   flags (1), port (2), idle seconds (2), id (16), IPv4 (4) or IPv6 (16), bundled payload
//	1 payload        id (16), payload
//	2 ICMP           IP packet
//	3 response       result (1), id (16), text length (2), text
//
// A parser returns a complete datagram or an error; the receiver drops a datagram with an error. No input makes a parser
// read beyond the bytes it was given or allocate more than a short text. Slices in parsed values are parts of the input.
package datagram

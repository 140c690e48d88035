// Package socks is the server's side of a SOCKS5 handshake without authentication (RFC 1928), codec and conversation:
//
//	client: 05, number of methods, methods          server: 05 00, or 05 FF when "no authentication" is not offered
//	client: 05, command, 00, address, u16 port      server: 05, reply, 00, address, u16 port
//
// An address is 01 and four bytes, 04 and sixteen bytes, or 03, a length and a name. Commands are 1 CONNECT, 2 BIND and
// 3 ASSOCIATE; only the first is served. What follows the handshake is the connection's own bytes.
//
// What a client may send is bounded by the protocol. The package is pure: Accept and Respond use the stream that they are given, and
// limits of time are its caller's.
package socks

// Package icmp is the codec of the IP packets that carry ping through a tunnel: IPv4 and IPv6 with an ICMP message
// (docs/spec/wire.md 10, docs/spec/ingress.md 9.4). It works on bytes alone.
//
// An edge sends complete packets with an echo request. The connector sends complete packets back: the echo reply, or the
// error that a router on the path would send. Parse reads a packet and Append functions write one, checksums included.
// AppendMessage and ParseMessage handle the part after the IP header, which the ping sockets of the system use.
//
//	IPv4 header   20 to 60 bytes: version 4 and length, total length, TTL, protocol 1, checksum, addresses
//	IPv6 header   40 bytes: version 6, payload length, next header 58, hop limit, addresses; no extension headers
//	ICMP          type u8, code u8, checksum u16, rest u32, data
//	  echo        rest = id u16, sequence u16
//	  error       rest = 0, or the MTU; data = the head of the packet that caused it
//
// What is parsed is bounded by the packet's own length fields, which may not exceed the bytes given; bytes behind them are
// ignored. Checksums of received packets are not verified: the transport that brought them has its own integrity, and
// everything sent on gets new ones. Fragments are refused, since they are not reassembled.
//
// The codec is our own rather than golang.org/x/net/icmp: that package imports net, works on net.IP, allocates per
// packet, and has no headers of IPv6.
package icmp

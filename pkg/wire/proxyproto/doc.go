// Package proxyproto is the codec of the PROXY protocol, versions 1 and 2, for TCP: a header that tells a server the
// addresses of the client's original connection.
//
// Version 1 is a line of at most 107 bytes:
//
//	PROXY TCP4 192.0.2.1 198.51.100.7 49152 22 CR LF
//	PROXY TCP6 2001:db8::1 2001:db8::2 49152 22 CR LF
//	PROXY UNKNOWN CR LF
//
// Version 2, numbers big-endian:
//
//	[12] 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
//	u8   version 2 (0x20) and command: 0 local, 1 proxied
//	u8   0x11 TCP over IPv4, 0x21 TCP over IPv6, 0x00 unknown
//	u16  length of what follows
//	...  source address, destination address, source port, destination port; then extensions, which are skipped
//
// The package does no I/O.
package proxyproto

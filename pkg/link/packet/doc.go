// Package packet is the codec of the messages on a datagram flow of the link (link.KindDatagrams): pure functions over
// bytes, no I/O, no clock.
//
// A flow is opened by one worker session towards one proxy, and carries messages both ways until either end finishes
// it. UDP sessions live in the proxy. The worker registers a session, with the first payload if it has one; the proxy
// sends the result if the registration requests it; payloads and ICMP packets go both ways; either end may end the session.
// Registering a known id with its destination moves the session to the flow it came on, with another destination replaces it.
//
// A message is the length of what follows (u16), the type (u8) and fields, big-endian:
//
//	1 REGISTER    worker to proxy  id (16), flags u8 (0x01 = result requested), idle ms u32 (0 = 210 s), address length u8 (4
//	                               or 16), address, port u16, payload (the rest; empty = none)
//	2 PAYLOAD     both             id (16), payload (the rest)
//	3 UNREGISTER  worker to proxy  id (16), reason text (the rest)
//	4 ICMP        both             IP packet (the rest)
//	5 REGISTERED  proxy to worker  id (16), result u8 (datagram.Result), text (the rest)
//	6 ENDED       proxy to worker  id (16), reason text (the rest)
//	7 UNKNOWN     proxy to worker  id (16); a payload came for a session that the proxy does not have
//
// A worker that receives UNKNOWN for a session that it has registers it again.
//
// A receiver skips types that it does not know, and flags that it does not know are ignored, so that a later version can
// add both. A message that is shorter than its fixed fields is an error of the flow. A message that the link carries is
// never larger than 65537 bytes, which bounds what a Reader holds.
package packet

// Package silence decides when a session that hears nothing has lost its edge because the port of the edge is closed. It is pure: time,
// counters and what the port said come in, and an action comes out.
//
// What the port says is never a proof by itself: anybody can send an ICMP message. It counts only for a session whose own packets
// stay without any response, several of them and for several round trips, and any packet from the edge takes everything back.
package silence

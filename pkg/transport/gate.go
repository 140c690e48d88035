package transport

import "net/netip"

// Gate bounds the handshakes that a listener runs at a time. A nil Gate sets no bound.
type Gate interface {
	// Enter decides about a connection before its handshake. The place is given back by leave, when the handshake has ended in
	// whatever way. A handshake that can be aborted may lose its place to a newer one, which calls abort; it is nil otherwise.
	Enter(remote netip.AddrPort, abort func()) (leave func(), ok bool)
	// Loaded reports whether so many handshakes run that peers must prove their address first, where the transport has a way
	// to ask for that without keeping state (RFC 9000 8.1.2).
	Loaded() bool
}

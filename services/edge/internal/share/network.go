package share

import "net/netip"

const (
	// bits4 and bits6 are the prefix lengths within which addresses count as one peer: a host has one IPv4 address, and
	// a subscriber has at least one /64 of IPv6 to choose addresses from.
	bits4 = 32
	bits6 = 64
)

// Network is the key of an address: the IPv4 address itself, also when it is mapped into IPv6, or the /64 of an IPv6 address.
// An invalid address gives the zero Prefix, which is a key of its own.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

package ports

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A socket on every address of a host with several must answer from the address that was asked (docs/spec/lifecycle.md 13),
// which the kernel tells of each packet and must be told of each answer.

// controlSize is room for the control messages of one packet, of both families.
const controlSize = 256

// askAddresses makes the kernel tell for each packet which address it came to. A socket of one family refuses the option
// of the other.
func askAddresses(udp *net.UDPConn) error {
	err4 := ipv4.NewPacketConn(udp).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	err6 := ipv6.NewPacketConn(udp).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err4 != nil && err6 != nil {
		return errors.Join(err4, err6)
	}
	return nil
}

// askedAddress is the address that a packet came to, and the interface, or zero values. A message of the wrong family
// parses as an empty one.
func askedAddress(control []byte) (netip.Addr, int) {
	var m6 ipv6.ControlMessage
	if m6.Parse(control) == nil && m6.Dst != nil {
		if a, ok := netip.AddrFromSlice(m6.Dst); ok {
			return a.Unmap(), m6.IfIndex
		}
	}
	var m4 ipv4.ControlMessage
	if m4.Parse(control) == nil && m4.Dst != nil {
		if a, ok := netip.AddrFromSlice(m4.Dst); ok {
			return a.Unmap(), m4.IfIndex
		}
	}
	return netip.Addr{}, 0
}

// answerFrom is the control message that makes the kernel answer from an address. The interface is the route's choice,
// except that an address of one link exists on that link alone. The family is that of the packet, also on a socket of both.
func answerFrom(a netip.Addr, ifIndex int) []byte {
	switch {
	case !a.IsValid() || a.IsMulticast():
		return nil
	case a.Is4():
		m := ipv4.ControlMessage{Src: a.AsSlice()}
		return m.Marshal()
	}
	m := ipv6.ControlMessage{Src: a.AsSlice()}
	if a.IsLinkLocalUnicast() {
		m.IfIndex = ifIndex
	}
	return m.Marshal()
}

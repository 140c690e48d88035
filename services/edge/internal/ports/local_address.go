package ports

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A socket on every address of a host with several must reply from the address that a packet came to
// (docs/spec/lifecycle.md 13). Control messages carry it: from the kernel with each packet, to the kernel with each reply.

// controlSize is room for the control messages of one packet, of both families.
const controlSize = 256

// enableLocalAddress makes the kernel state for each packet which address it came to. A socket of one family refuses the option
// of the other.
func enableLocalAddress(udp *net.UDPConn) error {
	err4 := ipv4.NewPacketConn(udp).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	err6 := ipv6.NewPacketConn(udp).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err4 != nil && err6 != nil {
		return errors.Join(err4, err6)
	}
	return nil
}

// localAddress returns the address and the interface that a packet came to, or zero values. A message of the wrong family
// parses as an empty one.
func localAddress(control []byte) (netip.Addr, int) {
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

// replyFrom is the control message that makes the kernel send from an address. The route decides the interface, except for a
// link-local address, which exists on one link alone. The family is that of the packet, also on a socket of both.
func replyFrom(a netip.Addr, ifIndex int) []byte {
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

package netwatch

import (
	"context"
	"net"
	"net/netip"
)

// HasRoute reports whether this host has a route to an address, as its system sees it. No packet is sent, so it does not say that the
// address can be reached.
func HasRoute(ctx context.Context, to netip.AddrPort) bool {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was written
	return true
}

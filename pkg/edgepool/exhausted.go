package edgepool

import "net/netip"

// Exhausted reports whether no address of the family is left to try: each one failed at its last attempt here or has a connection of the
// same connector, and at least one failed. That a hold is over makes an address worth a try, but no reason to believe in the pool.
func (p Pool) Exhausted(f Family, h Health, connected map[netip.AddrPort]bool) bool {
	failed := false
	for _, c := range p.candidates(f) {
		a := c.addr.Addr
		switch {
		case connected[a]:
		case h[a].Failures > 0:
			failed = true
		default:
			return false
		}
	}
	return failed
}

package ingress

import "net/netip"

// IPRule allows or denies destinations (spec/ingress.md 10). A zero Prefix contains no address.
type IPRule struct {
	Prefix netip.Prefix
	Ports  []int // ascending; empty means all
	Allow  bool
}

package edgepool

import "net/netip"

// special is a range of addresses that no public edge has.
type special struct {
	prefix netip.Prefix
	kind   string
}

// specials lists the ranges of the registries of special-purpose addresses that are not reachable from everywhere. Outside 2000::/3 no IPv6
// address is public but those that stand for an IPv4 address, so only their commonest kinds have a name here.
func specials() []special {
	var all []special
	add := func(kind string, prefixes ...string) {
		for _, p := range prefixes {
			all = append(all, special{netip.MustParsePrefix(p), kind})
		}
	}
	add("unspecified", "0.0.0.0/8", "::/128")
	add("private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")
	add("shared by the customers of a provider", "100.64.0.0/10")
	add("loopback", "127.0.0.0/8", "::1/128")
	add("link-local", "169.254.0.0/16", "fe80::/10")
	add("reserved for protocols", "192.0.0.0/24", "64:ff9b:1::/48", "100::/64")
	add("for documentation", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
	add("for benchmarks", "198.18.0.0/15", "2001:2::/48")
	add("of a 6to4 relay", "192.88.99.0/24", "2002::/16")
	add("of a Teredo client", "2001::/32")
	add("not routable", "2001:10::/28", "2001:20::/28")
	add("multicast", "224.0.0.0/4", "ff00::/8")
	add("reserved", "240.0.0.0/4")
	return all
}

//nolint:gochecknoglobals // tables that nothing changes
var (
	specialRanges = specials()
	// publicV6 is the only range from which public IPv6 addresses are given out.
	publicV6 = netip.MustParsePrefix("2000::/3")
	// translated is the range in which a network without IPv4 shows the IPv4 internet: the last 32 bits are the address.
	translated = netip.MustParsePrefix("64:ff9b::/96")
)

// Bogon says why a cannot be the address of a public edge, in a word or two, or "" if it can be one: it is private, reserved, for
// documentation and the like. An IPv4 address in IPv6 form is judged as the IPv4 address.
func Bogon(a netip.Addr) string {
	if !a.IsValid() {
		return "empty"
	}
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, s := range specialRanges {
		if s.prefix.Contains(a) {
			return s.kind
		}
	}
	if a.Is6() && !publicV6.Contains(a) {
		return "reserved"
	}
	return ""
}
